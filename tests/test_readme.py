"""Every command that the README and CONTRIBUTING show runs, here or in the check that is named for it."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")

# Commands too heavy or too lasting to run here, and the file in which each is run, with a text that shows it.
ELSEWHERE = {
    "make run": (".ci/run", "\nmake run\n"),
    "make test": (".ci/run", "\nmake test\n"),
    "intermodal compile --check": ("Makefile", "intermodal compile --check"),
    "intermodal new-component score_batch --image train": (
        "tests/authoring/test_scaffold.py",
        'scaffold_component("score_batch", "train", checkout)',
    ),
    "pytest tests/authoring/test_scaffold.py": ("tests/run.py", '"tests", "--ignore=tests/pipelines"'),
    "tests/run_in.py .venvs/testing/lib/python3.11/site-packages tests/components/render_report": ("tests/run.py", "tests/run_in.py"),
}


def commands():
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL):
            yield from re.findall(r"^\$ (.+)$", block, re.MULTILINE)


def elsewhere(command):
    if "--target" in command and "lint" not in command:
        return "tests/cli/test_platforms.py", "def test_the_readmes_commands_run_on_each_platform"
    return next((found for shown, found in ELSEWHERE.items() if command.endswith(shown)), None)


def test_there_are_commands_and_no_name_is_left_of_one_that_went():
    shown = list(commands())
    assert len(shown) >= 8
    for name in ELSEWHERE:
        assert [command for command in shown if command.endswith(name)], f"{name} is in no page any more"


@pytest.mark.parametrize("command", list(commands()))
def test_a_command_of_the_pages_runs(command, tmp_path):
    if found := elsewhere(command):
        path, text = found
        assert text in (ROOT / path).read_text(encoding="utf-8"), f"{path} no longer runs: {command}"
        return
    environment = os.environ | {"INTERMODAL_HOME": str(tmp_path)}
    done = subprocess.run(shlex.split(command), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("page", [*PAGES, "docs/index.md"])
def test_every_link_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        assert link.startswith("https://") or ((ROOT / page).parent / link).exists(), link


def test_python_blocks_of_the_readme_import_what_is_there():
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        subprocess.run([ROOT / ".venv/bin/python", "-c", block], cwd=ROOT, check=True, timeout=60)
