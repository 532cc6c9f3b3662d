# `make run` and `make test` do all their own set-up: a Python 3.11 or later, git and make are enough.
PYTHON ?= python3
# Byte code makes TensorFlow import three times as fast; a shell that forbids it would slow every task.
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV PYTHONPATH PYTHONHOME

.PHONY: run test faults check compile reference docs images clean help

help: ## What there is
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.ready ## Run the flight-delay pipeline: data to served model
	@.venv/bin/intermodal run pipelines/flights.yaml

test: .venv/.ready ## Run all tests, each component's in the environment of its image
	@.venv/bin/python tests/run.py

faults: .venv/.ready ## Run the fault matrix with fresh random faults; SEED=1234 ROUNDS=5 repeats five seeds from 1234 on
	@.venv/bin/python tests/faults.py $(or $(SEED),fresh) $(or $(ROUNDS),1)

check: .venv/.ready ## Static checks: format, lint, types, layers, generated files
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/intermodal compile --check
	.venv/bin/python -m intermodal.reference --check
	.venv/bin/python tests/fault_matrix.py --check
	@$(MAKE) --no-print-directory docs

compile: .venv/.ready ## Write compiled/
	.venv/bin/intermodal compile

reference: .venv/.ready ## Write docs/reference/
	.venv/bin/python -m intermodal.reference
	.venv/bin/python tests/fault_matrix.py

docs: .venv/.ready ## Build the documentation's site in site/; a link that leads nowhere fails
	@$$(.venv/bin/python -c "from intermodal.execution.environments import environment; print(environment('docs'))") -m sphinx -q -W --keep-going -b html docs site

images: ## Build all images with Docker; BASE, INDEX, REPOSITORY, TAG as images/build says
	@images/build

clean: ## Remove environments, runs and stores; end served models first with `intermodal serve stop NAME`
	rm -rf .venv .venvs .intermodal

.venv/.ready: pyproject.toml uv.lock bootstrap.py
	@UV_PYTHON_DOWNLOADS=never "$$($(PYTHON) bootstrap.py)" sync --quiet --locked --extra kubeflow --extra vertex --compile-bytecode --python "$$(command -v $(PYTHON))"
	@touch $@
