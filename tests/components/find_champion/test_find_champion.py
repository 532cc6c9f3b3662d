import time
from pathlib import Path

import pytest

from intermodal.components.find_champion.logic import find_champion
from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import MODEL_TAG, open_registry
from intermodal.runtime.errors import ConfigurationError, StoreError
from intermodal.runtime.tree import tree_hash


@pytest.fixture
def register(local_registry, model_name, registrable):
    def run(content="weights", run_name="run", **verdict):
        paths = registrable(content, **verdict)
        register_model(**paths, model_registry=local_registry, model_name=model_name, parameters={}, run_name=run_name)
        return tree_hash(Path(paths["model_path"]))

    return run


@pytest.fixture
def find(local_registry, model_name):
    return lambda registry=local_registry: find_champion(model_registry=registry, model_name=model_name)


def test_a_registry_that_does_not_exist_yet_has_no_champion_and_is_not_made(find, tmp_path):
    assert find(f"sqlite:///{tmp_path}/none/mlflow.db") == ("", "")
    assert not (tmp_path / "none").exists()


def test_a_model_without_versions_or_without_alias_has_no_champion(find, register):
    assert find() == ("", "")
    register(verdict="blocked")
    assert find() == ("", "")


@pytest.mark.fault(
    "New data",
    "the same model registered again, another one blocked, another one passed",
    "the champion's version and content change only when the champion does",
)
def test_the_answer_changes_only_with_the_champion(find, register):
    first = register()
    assert find() == ("1", first)
    register(run_name="again", against="1")
    register("worse", run_name="blocked", verdict="blocked", against="1")
    assert find() == ("1", first)
    second = register("better", run_name="passed", against="1")
    assert find() == ("3", second)


def test_a_champion_whose_files_could_not_be_checked_is_refused(find, register, local_registry, model_name):
    register()
    open_registry(local_registry).delete_model_version_tag(model_name, "1", MODEL_TAG)
    with pytest.raises(StoreError, match=r"version 1, the champion, has no tag model_sha256.*register it with register_model, or remove the alias"):
        find()


def test_a_file_that_is_no_database_and_a_uri_of_another_kind_are_told(find, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database, though it has some length to it" * 40)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"mlflow\.db.*not a database"):
        find(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigurationError, match="give sqlite:////"):
        find("mysql://host/db")
