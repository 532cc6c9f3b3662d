"""A scaffolded component keeps its promises as it is made; a bad request writes nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intermodal.authoring.images import IMAGES
from intermodal.authoring.scaffold import scaffold_component
from intermodal.runtime.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose only components are those a test makes."""
    shutil.copytree(ROOT / "src" / "intermodal", tmp_path / "src" / "intermodal", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests" / "components").mkdir(parents=True)
    (tmp_path / "components").mkdir()
    (tmp_path / "pipelines").symlink_to(ROOT / "pipelines")
    shutil.copy(ROOT / "components" / "__init__.py", tmp_path / "components")
    for name in ("test_contracts.py",):
        shutil.copy(ROOT / "tests" / "components" / name, tmp_path / "tests" / "components")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run_tests(checkout, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_component_passes_its_own_tests_and_the_contract_tests(checkout):
    written = scaffold_component("score_batch", "train", checkout)
    assert all(path.is_file() for path in written)
    done = run_tests(checkout, "tests/components/score_batch", "tests/components/test_contracts.py", "-k", "score_batch")
    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout


def test_a_new_component_is_formatted_and_lints_clean(checkout):
    scaffold_component("score_batch", "data", checkout)
    ruff = Path(sys.executable).with_name("ruff")
    for command in (("format", "--check"), ("check", "--no-cache")):
        done = subprocess.run([ruff, *command, "components", "tests/components"], cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["score", "ScoreBatch", "score-batch", "score_batch_2", "_score", "score_", "../score_batch", "", "score_batch\n"])
def test_a_name_that_is_not_verb_noun_is_refused(checkout, name):
    with pytest.raises(ConfigurationError, match="verb and a noun"):
        scaffold_component(name, "data", checkout)
    assert not list((checkout / "components").glob("*score*"))


def test_an_unknown_image_is_refused_with_the_images_there_are(checkout):
    with pytest.raises(ConfigurationError, match=", ".join(IMAGES)):
        scaffold_component("score_batch", "gpu", checkout)


def test_a_component_that_is_there_is_left_alone(checkout):
    scaffold_component("score_batch", "data", checkout)
    (checkout / "components" / "score_batch" / "logic.py").write_text("mine")
    with pytest.raises(ConfigurationError, match="there already"):
        scaffold_component("score_batch", "train", checkout)
    assert (checkout / "components" / "score_batch" / "logic.py").read_text() == "mine"


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="--root"):
        scaffold_component("score_batch", "data", tmp_path)
