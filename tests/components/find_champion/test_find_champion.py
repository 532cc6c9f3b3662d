import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intermodal.components.find_champion.logic import find_champion
from intermodal.components.promote_model.logic import promote_model
from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import MODEL_TAG, open_registry
from intermodal.runtime.errors import ConfigurationError, StoreError
from intermodal.runtime.tree import tree_hash


@pytest.fixture
def register(local_registry, model_name, register_champion):
    return lambda *content, **verdict: tree_hash(Path(register_champion(local_registry, model_name, *content, **verdict)["model_path"]))


@pytest.fixture
def find(local_registry, model_name):
    return lambda registry=local_registry: find_champion(registry=registry, name=model_name)[:2]


def test_a_registry_that_does_not_exist_yet_has_no_champion_and_is_not_created(find, tmp_path):
    assert find(f"sqlite:///{tmp_path}/none/mlflow.db") == ("none", "")
    assert not (tmp_path / "none").exists()


def test_a_model_without_versions_or_without_alias_has_no_champion(find, register):
    assert find() == ("none", "")
    register(verdict="blocked")
    assert find() == ("none", "")


@pytest.mark.fault(
    "New data",
    "the same model registered again, another one blocked, another one passed",
    "the champion's version and content change only when the champion does",
)
def test_the_answer_changes_only_with_the_champion(find, register):
    first = register()
    assert find() == ("1", first)
    register(against="1")
    register("worse", verdict="blocked", against="1")
    assert find() == ("1", first)
    second = register("better", against="1")
    assert find() == ("3", second)


def test_a_champion_that_was_registered_by_other_means_has_no_hash(find, register, local_registry, model_name):
    register()
    open_registry(local_registry).delete_model_version_tag(model_name, "1", MODEL_TAG)
    assert find() == ("1", "")


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:1"])
def test_a_name_that_mlflow_does_not_take_is_refused(local_registry, name):
    with pytest.raises(ConfigurationError, match=r"name: .*without '/' and ':'"):
        find_champion(name=name, registry=local_registry)


def test_a_file_that_is_no_database_and_a_uri_of_another_kind_are_refused(find, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database, though it has some length to it" * 40)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"mlflow\.db.*not a database"):
        find(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigurationError, match=r"registry: .*must be sqlite:////"):
        find("mysql://host/db")


def test_an_alias_that_somebody_else_moves_is_seen(find, register, local_registry, model_name):
    first = register()
    register("better", against="1")
    open_registry(local_registry).set_registered_model_alias(model_name, "champion", "1")
    assert find() == ("1", first)
    open_registry(local_registry).delete_registered_model_alias(model_name, "champion")
    assert find() == ("none", "")


UNCHANGED = """
import json, os, sys
from intermodal.components.find_champion.logic import find_champion
from intermodal.components.promote_model.logic import promote_model
from intermodal.components.register_model.logic import register_model

arguments = json.loads(sys.argv[1])
found = find_champion(name=arguments["name"], registry=arguments["registry"])
registered = register_model(**arguments)
places = {"registration_path": arguments["registration_path"], "promotion_path": arguments["registration_path"] + "-promotion"}
promoted = promote_model(deployment_path=None, registry=arguments["registry"], **places)
print(json.dumps([found, registered["version"], promoted["champion"], "mlflow" in sys.modules]))
"""


def test_with_nothing_new_neither_finding_nor_registering_nor_promoting_waits_for_mlflow(registrable, local_registry, model_name, tmp_path):
    arguments = registrable("weights") | {"run_name": "again", "registry": local_registry, "name": model_name}
    for _ in range(2):  # the first promotion changes the registry, and nothing is known of a changed file
        register_model(**arguments)
        promote_model(
            registration_path=arguments["registration_path"],
            deployment_path=None,
            registry=local_registry,
            promotion_path=str(tmp_path / "promotion"),
        )
    database = Path(local_registry.removeprefix("sqlite:///"))
    before, registration = database.read_bytes(), Path(arguments["registration_path"], "registration.json").read_text()
    again = arguments | {"run_name": "third", "registration_path": str(tmp_path / "again")}
    done = subprocess.run([sys.executable, "-c", UNCHANGED, json.dumps(again)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [["1", tree_hash(Path(arguments["model_path"])), "1", {}], "1", True, False]
    assert database.read_bytes() == before
    assert (tmp_path / "again" / "registration.json").read_text() == registration


def test_the_models_that_the_same_rows_judged_are_told_by_their_window(registrable, local_registry, model_name):
    hashes = []
    for content, window in (("first", "w1"), ("second", "w1"), ("second", "w2"), ("third", "w2")):
        paths = registrable(content, verdict="blocked")
        file = Path(paths["evaluation_path"], "evaluation.json")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"window": window}))
        register_model(**paths, registry=local_registry, name=model_name)
        hashes.append(tree_hash(Path(paths["model_path"]))[:12])
    first, second, _, third = hashes
    found = find_champion(registry=local_registry, name=model_name)
    assert found.judged == {"w1": sorted([first, second]), "w2": sorted([second, third])}
