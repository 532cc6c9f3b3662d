"""The wheel holds all that a person without a checkout needs: components, their compiled files, the configurations with their feature code."""

import json
import re
import tomllib
import zipfile
from pathlib import Path

import pytest

from intermodal.authoring.catalog import component_names
from intermodal.authoring.images import IMAGES
from tests.installed import UV, sh
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.timeout(900)


def test_the_extra_of_an_image_is_its_group_without_kfp_which_the_package_itself_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for image in IMAGES:
        group = [each for each in project["dependency-groups"][image] if not each.startswith("kfp==")]
        if image == "validate":  # TFDV 1.16, for Python 3.11, needs another protobuf than kfp
            group = [each for each in group if "python_version < '3.12'" not in each]
        assert project["project"]["optional-dependencies"][image] == group
    assert project["project"]["optional-dependencies"]["examples"] == project["dependency-groups"]["examples"]


@pytest.mark.parametrize("image", IMAGES)
def test_the_extra_of_an_image_goes_beside_kfp(image, wheel, tmp_path):
    """With kfp's own requirements, which the lock of the images leaves out."""
    (tmp_path / "requirements.in").write_text(f"intermodal[{image}] @ {wheel.as_uri()}\n")
    platform = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_39")
    made = sh(UV, "pip", "compile", "--quiet", *platform, "requirements.in", cwd=tmp_path)
    versions = dict(line.split("==") for line in made.splitlines() if re.fullmatch(r"[\w.-]+==[\w.]+", line))
    assert (versions["kfp"], versions["protobuf"].partition(".")[0]) == ("2.17.0", "6")


def test_every_tracked_file_of_the_examples_and_every_compiled_component_is_in_it(wheel):
    tracked = sh("git", "ls-files", "pipelines", "examples", "feature_repo", "components", "compiled/components", cwd=ROOT).split()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"intermodal/{path}" for path in tracked if not path.endswith("role.yaml")} <= names
    assert {f"intermodal/compiled/components/{name}.yaml" for name in component_names()} <= names


def test_without_a_checkout_the_configurations_are_listed_and_compile(installed, tmp_path):
    shown = sh(installed / "intermodal", "list", cwd=tmp_path)
    assert "pipelines/flights.yaml" in shown
    assert "examples/breast_cancer/breast_cancer.yaml" in shown
    for given in ("breast_cancer", "examples/breast_cancer/breast_cancer.yaml"):
        sh(installed / "intermodal", "compile", given, "--target", "kubeflow", "--output", tmp_path / "out", cwd=tmp_path)
        made = list((tmp_path / "out" / "kubeflow").iterdir())
        assert [path.name for path in made] == ["breast_cancer.yaml"]
        assert str(tmp_path) not in made[0].read_text()
        made[0].unlink()


def test_describe_names_the_compiled_file_which_kfp_loads(installed, tmp_path):
    shown = sh(installed / "intermodal", "describe", "train_model", cwd=tmp_path)
    path = Path(re.search(r"^Compiled: (\S+)$", shown, re.MULTILINE)[1])
    assert "site-packages" in path.parts
    code = "import sys; from kfp import components; print(components.load_component_from_file(sys.argv[1]).name)"
    assert sh(installed / "python", "-c", code, path, cwd=tmp_path).strip() == "train-model"


def test_the_breast_cancer_example_runs_without_a_checkout(installed, caches, tmp_path):
    port = free_port()
    try:
        settings = ["--set", f"serving.local.port={port}", "--set", "serving.local.timeout=300"]
        shown = sh(installed / "intermodal", "run", "breast_cancer", *settings, cwd=tmp_path, **caches)
        assert "Gate     passed" in shown
        report = Path(tmp_path, re.search(r"^Report +(\S+)$", shown, re.MULTILINE)[1])
        assert "<!doctype html>" in report.read_text()
    finally:
        listed = sh(installed / "intermodal", "serve", cwd=tmp_path)
        if "breast" in listed:
            sh(installed / "intermodal", "serve", "stop", "breast-cancer", cwd=tmp_path)


def test_one_component_runs_without_a_checkout(installed, caches, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "history.json").write_text(json.dumps({"loss": [0.5, 0.4]}))
    shown = sh(installed / "intermodal", "run-component", "render_report", "--input", "training=training", cwd=tmp_path, **caches)
    assert "Learning: loss" in Path(re.search(r"^report +HTML +(\S+)$", shown, re.MULTILINE)[1]).read_text()
