import json
import time
from pathlib import Path

import pytest

from intermodal.components.fetch_champion.logic import fetch_champion
from intermodal.components.register_model.logic import register_model
from intermodal.errors import ConfigurationError, StoreError
from intermodal.model_registry import open_registry


@pytest.fixture
def fetch(local_registry, model_name, tmp_path):
    def run(registry=local_registry):
        fetch_champion(model_registry=registry, model_name=model_name, champion_path=str(tmp_path / "champion"))
        return json.loads((tmp_path / "champion" / "champion.json").read_text())

    return run


@pytest.fixture
def registered(local_registry, model_name, registrable):
    paths = registrable()
    register_model(**paths, model_registry=local_registry, model_name=model_name, parameters={}, run_name="run")
    return paths


def test_a_registry_that_does_not_exist_yet_has_no_champion_and_is_not_made(fetch, tmp_path):
    assert fetch(f"sqlite:///{tmp_path}/none/mlflow.db") == {"version": None, "run_id": None, "registered_at": None}
    assert not (tmp_path / "none").exists()
    assert [path.name for path in (tmp_path / "champion").iterdir()] == ["champion.json"]


def test_a_model_without_versions_or_without_alias_has_no_champion(fetch, local_registry, model_name, registrable):
    assert fetch()["version"] is None
    paths = registrable(verdict="blocked")
    register_model(**paths, model_registry=local_registry, model_name=model_name, parameters={}, run_name="run")
    assert fetch()["version"] is None


def test_a_champion_comes_back_byte_for_byte(fetch, registered, tmp_path, files_of):
    found = fetch()
    assert found["version"] == "1"
    assert found["registered_at"].endswith("+00:00")
    champion = tmp_path / "champion"
    assert files_of(champion / "model") == files_of(Path(registered["model_path"]))
    assert files_of(champion / "statistics") == files_of(Path(registered["statistics_path"]))
    assert (champion / "schema.pbtxt").read_bytes() == (Path(registered["schema_path"]) / "schema.pbtxt").read_bytes()
    assert sorted(path.name for path in champion.iterdir()) == ["champion.json", "model", "schema.pbtxt", "statistics"]


def test_a_champion_whose_files_changed_or_went_is_no_champion(fetch, registered, local_registry, model_name, tmp_path):
    client = open_registry(local_registry)
    source = Path(client.get_model_version_by_alias(model_name, "champion").source.removeprefix("file://"))
    (source / "saved_model.pb").write_bytes(b"something else")
    with pytest.raises(StoreError, match=r"files of .* version 1 are not those that were registered; restore"):
        fetch()
    assert not (tmp_path / "champion").exists()
    for path in sorted(source.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    source.rmdir()
    with pytest.raises(StoreError, match="registry"):
        fetch()


def test_a_file_that_is_no_database_and_a_uri_of_another_kind_are_told(fetch, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database, though it has some length to it" * 40)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"mlflow\.db.*not a database"):
        fetch(f"sqlite:///{tmp_path}/mlflow.db")
    assert time.monotonic() - started < 5
    with pytest.raises(ConfigurationError, match="give sqlite:////"):
        fetch("mysql://host/db")
