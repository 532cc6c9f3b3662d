"""No false alarm on what google-cloud-pipeline-components ships: every component and pipeline of it that imports beside this kfp."""

import importlib
import pkgutil
import warnings
from pathlib import Path

import google_cloud_pipeline_components
import pytest
from google.protobuf import json_format
from kfp.dsl import base_component

from intermodal.targets.linting import lint, lint_documents

ROOT = Path(google_cloud_pipeline_components.__file__).parent


def shipped():
    """Yield (name, specification) of all component objects in the package's public folders."""
    seen = set()
    for folder in ("v1", "preview"):
        package = importlib.import_module(f"google_cloud_pipeline_components.{folder}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _: None):
            try:
                members = vars(importlib.import_module(module.name))
            except Exception:  # nine modules of the package do not import beside kfp 2.17
                continue
            for name, value in members.items():
                if isinstance(value, base_component.BaseComponent) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{module.name}.{name}", json_format.MessageToDict(value.pipeline_spec)


@pytest.fixture(scope="module")
def findings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: lint_documents([specification], "vertex", name) for name, specification in shipped()}


def test_there_are_many(findings):
    assert len(findings) > 150


def test_none_has_an_error(findings):
    errors = {name: [(each.rule, each.what) for each in found if each.severity == "error"] for name, found in findings.items()}
    assert {name: found for name, found in errors.items() if found} == {}


def test_none_has_a_warning(findings):
    assert {name: [(each.rule, each.what) for each in found] for name, found in findings.items() if found} == {}


def test_the_yaml_files_of_the_package_have_no_errors():
    files = [path for path in ROOT.rglob("*.yaml") if "pipelineInfo" in path.read_text(encoding="utf-8")]
    wrong = {str(path): [each for each in lint(path, "vertex") if each.severity == "error"] for path in files}
    assert {path: found for path, found in wrong.items() if found} == {}
