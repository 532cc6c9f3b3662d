import json
import re
from pathlib import Path

import pytest

from intermodal.components.fetch_champion.logic import fetch_champion
from intermodal.components.find_champion.logic import find_champion
from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import open_registry
from intermodal.runtime.errors import ConfigurationError, MachineError, StoreError
from intermodal.runtime.tree import tree_hash


@pytest.fixture
def fetch(local_registry, model_name, tmp_path):
    def run(version="", model_sha256="", registry=local_registry):
        fetch_champion(
            registry=registry, name=model_name, version=version, model_sha256=model_sha256, reference="", champion_path=str(tmp_path / "champion")
        )
        return json.loads((tmp_path / "champion" / "champion.json").read_text())

    return run


@pytest.fixture
def registered(local_registry, model_name, register_champion):
    paths = register_champion(local_registry, model_name)
    return paths | {"sha256": tree_hash(Path(paths["model_path"]))}


def test_where_no_champion_was_found_no_registry_is_asked_or_created(fetch, tmp_path):
    assert fetch("none", "", f"sqlite:///{tmp_path}/none/mlflow.db") == {"version": None, "model_sha256": None}
    assert not (tmp_path / "none").exists()
    assert [path.name for path in (tmp_path / "champion").iterdir()] == ["champion.json"]


def test_a_champion_comes_back_byte_for_byte(fetch, registered, tmp_path, files_of):
    assert fetch("1", registered["sha256"]) == {"version": "1", "model_sha256": registered["sha256"]}
    champion = tmp_path / "champion"
    assert files_of(champion / "model") == files_of(Path(registered["model_path"]))
    assert files_of(champion / "statistics") == files_of(Path(registered["statistics_path"]))
    assert (champion / "schema.pbtxt").read_bytes() == (Path(registered["schema_path"]) / "schema.pbtxt").read_bytes()
    assert sorted(path.name for path in champion.iterdir()) == ["champion.json", "model", "schema.pbtxt", "statistics"]


def test_without_a_version_the_present_champion_is_fetched(fetch, registered, register_champion, local_registry, model_name):
    assert fetch() == {"version": "1", "model_sha256": registered["sha256"]}
    register_champion(local_registry, model_name, "better", against="1")
    assert fetch()["version"] == "2"
    assert fetch("1")["version"] == "1"


def test_without_a_champion_nothing_is_fetched(fetch, registrable, local_registry, model_name, tmp_path):
    assert fetch() == {"version": None, "model_sha256": None}
    register_model(**registrable(verdict="blocked"), registry=local_registry, name=model_name)
    assert fetch() == {"version": None, "model_sha256": None}
    assert [path.name for path in (tmp_path / "champion").iterdir()] == ["champion.json"]


def test_a_version_that_mlflow_itself_logged_is_fetched(fetch, local_registry, model_name, tmp_path):
    import mlflow
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(local_registry)
    experiment = mlflow.create_experiment(model_name, artifact_location=str(tmp_path / "theirs"))
    with mlflow.start_run(experiment_id=experiment):
        model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        mlflow.sklearn.log_model(model, name="classifier", registered_model_name=model_name, serialization_format="pickle")
    open_registry(local_registry).set_registered_model_alias(model_name, "champion", "1")
    found = find_champion(name=model_name, registry=local_registry)
    assert found == ("1", "", "none", {})
    assert fetch(found.version, found.model_sha256)["version"] == "1"
    assert sorted(path.name for path in (tmp_path / "champion").iterdir()) == ["champion.json", "model"]
    assert {"MLmodel", "model.pkl"} <= {path.name for path in (tmp_path / "champion" / "model").iterdir()}


@pytest.mark.parametrize(("version", "sha256"), [("latest", ""), ("-1", ""), ("1", "abc")])
def test_what_is_no_version_or_hash_is_refused(fetch, version, sha256):
    with pytest.raises(ConfigurationError, match=re.escape(repr(sha256 or version))):
        fetch(version, sha256)


def test_equal_values_give_equal_bytes(fetch, registered, tmp_path, files_of):
    fetch("1", registered["sha256"])
    before = files_of(tmp_path / "champion")
    fetch("1", registered["sha256"])
    assert files_of(tmp_path / "champion") == before


@pytest.mark.fault(
    "New data", "another content than the one asked for, changed files, lost files", "no champion is brought; the message names the run"
)
def test_files_of_another_content_are_not_the_champion(fetch, registered, local_registry, model_name, tmp_path):
    with pytest.raises(StoreError, match=r"files of .* version 1 are not those that were registered; restore"):
        fetch("1", "0" * 64)
    client = open_registry(local_registry)
    source = Path(client.get_model_version_by_alias(model_name, "champion").source.removeprefix("file://"))
    (source / "saved_model.pb").write_bytes(b"something else")
    with pytest.raises(StoreError, match=r"files of .* version 1 are not those that were registered; restore"):
        fetch("1", registered["sha256"])
    assert not (tmp_path / "champion").exists()
    for path in sorted(source.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    source.rmdir()
    with pytest.raises(StoreError, match="registry"):
        fetch("1", registered["sha256"])


def test_a_version_that_was_deleted_meanwhile_is_named(fetch, registered):
    with pytest.raises(StoreError, match="version=9"):
        fetch("9", registered["sha256"])


@pytest.mark.fault("Stores", "a full disk of the output while a champion is fetched", "that disk is named, not the registry's")
def test_a_full_disk_of_the_output_is_named(local_registry, model_name, registrable, small_disk):
    paths = registrable("x" * 400_000)
    register_model(**paths, registry=local_registry, name=model_name)
    disk = small_disk("small", 1, room=64 << 10)
    sha256 = tree_hash(Path(paths["model_path"]))
    with pytest.raises(MachineError, match=rf"no room left in {disk}\S*: its disk, mounted at {disk}, is full"):
        fetch_champion(registry=local_registry, name=model_name, version="1", model_sha256=sha256, reference="", champion_path=f"{disk}/champion")
    assert [path.name for path in disk.iterdir()] == ["filling"]
