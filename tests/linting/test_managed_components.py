"""No false alarm on what google-cloud-pipeline-components ships: every component and pipeline of it that imports beside this kfp."""

import importlib
import pkgutil
import warnings
from pathlib import Path

import google_cloud_pipeline_components
import pytest
from google.protobuf import json_format
from kfp.dsl import base_component

from intermodal.linting import lint, lint_documents

ROOT = Path(google_cloud_pipeline_components.__file__).parent


def shipped():
    """Return (modules that import, those that do not, specifications by name) of the whole package."""
    imported, refused, components = 0, [], {}
    for module in pkgutil.walk_packages(google_cloud_pipeline_components.__path__, "google_cloud_pipeline_components.", onerror=refused.append):
        try:
            members = vars(importlib.import_module(module.name))
        except (ImportError, TypeError):  # code of its images, and what this kfp or protobuf refuses; counted below
            refused.append(module.name)
            continue
        imported += 1
        components |= {id(each): (f"{module.name}.{name}", each) for name, each in members.items() if isinstance(each, base_component.BaseComponent)}
    return imported, refused, {name: json_format.MessageToDict(each.pipeline_spec) for name, each in components.values()}


@pytest.fixture(scope="module")
def package():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return shipped()


@pytest.fixture(scope="module")
def findings(package):
    return {name: lint_documents([specification], None, name) for name, specification in package[2].items()}


def test_it_is_the_whole_package(package):
    imported, refused, specifications = package
    assert (imported > 505, len(refused) < 15, len(specifications) > 200) == (True, True, True)


def test_none_has_a_finding_on_vertex_for_which_it_is_made(findings):
    found = {name: [(each.rule, each.what) for each in each_found if "vertex" in each.platforms] for name, each_found in findings.items()}
    assert {name: rules for name, rules in found.items() if rules} == {}


def test_on_kubeflow_only_what_is_true_is_said(findings):
    """Pipelines made for Vertex AI: some give an importer a display name, or feed a OneOf from cached tasks; one image is tagged latest."""
    true = {"kubeflow-cached-branch", "kubeflow-image-tag", "kubeflow-importer-name", "kubeflow-importer-input"}
    assert {each.rule for found in findings.values() for each in found} <= true
    errors = {name for name, found in findings.items() if any(each.severity == "error" for each in found)}
    assert all("pipeline" in name or "starry_net" in name for name in errors)


def test_the_yaml_files_of_the_package_have_no_errors():
    files = [path for path in ROOT.rglob("*.yaml") if "pipelineInfo" in path.read_text(encoding="utf-8")]
    wrong = {str(path): [each for each in lint(path, "vertex") if each.severity == "error"] for path in files}
    assert {path: found for path, found in wrong.items() if found} == {}
