import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from intermodal.components.fetch_champion.logic import fetch_champion
from intermodal.components.find_champion.logic import find_champion
from intermodal.components.register_model import logic
from intermodal.components.register_model.evidence import framework_of
from intermodal.components.register_model.logic import register_model
from intermodal.registry.client import open_registry
from intermodal.runtime.errors import ConfigurationError, DataError, StoreError
from tests.ports import free_port

POSTGRES = os.environ.get("INTERMODAL_TEST_POSTGRES")


def register(paths, registry, name, run_name="run-1", **changed):
    register_model(**paths | {"run_name": run_name} | changed, name=name, registry=registry)
    return json.loads((Path(paths["registration_path"]) / "registration.json").read_text())


def versions(registry, name):
    return open_registry(registry).search_model_versions(f"name = '{name}'")


def champion(registry, name):
    return str(open_registry(registry).get_registered_model(name).aliases.get("champion"))


def test_the_models_own_code_is_part_of_the_lineage(local_registry, model_name, registrable, tmp_path):
    (tmp_path / "model.py").write_text("def build(width, settings): ...")
    made = register(registrable(), local_registry, model_name, code_path=str(tmp_path))
    assert made["lineage"]["code_sha256"] not in (None, made["lineage"]["repository_sha256"])
    assert "code_sha256" not in register(registrable("other weights", verdict="blocked"), local_registry, model_name, run_name="run-2")["lineage"]


def test_a_passed_model_is_registered_with_numbers_curves_and_lineage_and_is_not_the_champion_yet(local_registry, model_name, registrable):
    made = register(registrable(), local_registry, model_name, parameters={"epochs": 3.0, "hidden_units": [64.0], "note": "x" * 9000})
    assert (made["name"], made["version"], made["registry"]) == (model_name, "1", local_registry)
    assert champion(local_registry, model_name) == "None"
    assert made["lineage"]["data_fingerprint"] == "f" * 64
    assert made["lineage"]["tables"] == {"rows": "a" * 64}
    assert {"model_sha256", "repository_sha256", "schema_sha256", "decision_sha256"} <= made["lineage"].keys()
    run = open_registry(local_registry).get_run(made["run_id"])
    assert run.data.params["epochs"] == "3.0"
    assert run.data.params["dropout"] == "0.5"  # as the training recorded it; what was given comes before that
    assert len(run.data.params["note"]) == 6000
    assert run.data.metrics["auc"] == 0.75
    assert "auc_high" not in run.data.metrics  # undefined: no number
    assert run.data.tags["repository_sha256"] == made["lineage"]["repository_sha256"]
    assert (run.data.tags["training.commit"], run.data.tags["training.seed"]) == ("c0ffee-dirty", "7")
    curve = open_registry(local_registry).get_metric_history(made["run_id"], "training/loss")
    assert [(point.step, point.value) for point in curve] == [(0, 0.6), (1, 0.5)]
    assert run.info.status == "FINISHED"


def test_the_registration_holds_the_evidence_that_it_was_made_with(local_registry, model_name, registrable, files_of):
    paths = registrable()
    register(paths, local_registry, model_name)
    folder = Path(paths["registration_path"])
    sources = {"evaluation.json": "evaluation", "decision.json": "decision", "history.json": "training", "schema.pbtxt": "schema"}
    for name, artifact in (sources | {"manifest.json": "tables", "reproduction.json": "training"}).items():
        assert (folder / name).read_bytes() == (Path(paths[f"{artifact}_path"]) / name).read_bytes()
    assert files_of(folder / "statistics") == files_of(Path(paths["statistics_path"]))
    assert not (folder / "model").exists()


def alone(paths, **changed):
    """A model that comes with nothing else."""
    kept = {"model_path", "registration_path", "registered_path"}
    return {key: value if key in kept or not key.endswith("_path") else None for key, value in paths.items()} | changed


def test_a_model_that_comes_with_nothing_else_is_registered(local_registry, model_name, registrable, files_of):
    paths = alone(registrable("first"))
    made = register(paths, local_registry, model_name, metrics={"mae": 1.5, "display_name": "x", "worst": float("nan")})
    assert made["version"] == "1"
    assert made["lineage"].keys() == {"model_sha256"}
    assert [path.name for path in Path(paths["registration_path"]).iterdir()] == ["registration.json"]
    assert files_of(Path(paths["registered_path"])) == files_of(Path(paths["model_path"]))
    assert open_registry(local_registry).get_run(made["run_id"]).data.metrics == {"mae": 1.5}
    assert register(alone(registrable("second")), local_registry, model_name)["version"] == "2"
    assert champion(local_registry, model_name) == "None"


def test_a_keras_file_without_a_suffix_comes_back_as_it_was(local_registry, model_name, registrable, tmp_path):
    with zipfile.ZipFile(tmp_path / "model", "w") as archive:
        archive.writestr("config.json", "{}")
    paths = alone(registrable(), model_path=str(tmp_path / "model"))
    metadata = register_model(**paths, name=model_name, registry=local_registry)
    assert metadata == {"name": model_name, "version": "1", "framework": "keras", "registry": local_registry, "sha256": metadata["sha256"]}
    assert Path(paths["registered_path"]).read_bytes() == (tmp_path / "model").read_bytes()
    found = fetch_champion(
        name=model_name, registry=local_registry, version="1", model_sha256=metadata["sha256"], reference="", champion_path=str(tmp_path / "champion")
    )
    assert found == metadata
    assert (tmp_path / "champion" / "model" / "model.keras").read_bytes() == (tmp_path / "model").read_bytes()


@pytest.mark.parametrize(
    ("files", "framework"),
    [
        (["saved_model.pb", "variables/variables.index"], "tensorflow"),
        (["model.onnx"], "onnx"),
        (["model.bst", "feature_names.json"], "xgboost"),
        (["model.joblib"], "sklearn"),
        (["config.json", "model.safetensors"], ""),
    ],
)
def test_the_framework_is_known_from_the_files_and_else_from_the_metadata(tmp_path, files, framework):
    for name in files:
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).touch()
    assert framework_of(tmp_path / "model") == framework


@pytest.mark.parametrize("missing", ["none", "empty"])
def test_a_model_that_is_not_there_is_refused_before_the_registry_is_opened(tmp_path, model_name, registrable, missing):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{missing}: no model there"):
        register(alone(registrable(), model_path=str(tmp_path / missing)), f"sqlite:///{tmp_path}/stores/mlflow.db", model_name)
    assert not (tmp_path / "stores").exists()


def test_an_artifact_without_its_file_is_named(local_registry, model_name, registrable):
    paths = registrable()
    (Path(paths["training_path"]) / "history.json").unlink()
    with pytest.raises(DataError, match=r"training/history\.json: no such file"):
        register(paths, local_registry, model_name)


def test_a_blocked_model_is_registered_with_its_verdict(local_registry, model_name, registrable):
    register(registrable("first"), local_registry, model_name)
    assert register(registrable("second", verdict="blocked", against="1"), local_registry, model_name, "run-2")["version"] == "2"
    tags = {version.version: version.tags["gate"] for version in versions(local_registry, model_name)}
    assert {str(version): gate for version, gate in tags.items()} == {"1": "passed", "2": "blocked"}


def test_the_same_model_again_is_the_same_version(local_registry, model_name, registrable):
    first = register(registrable(), local_registry, model_name)
    again = register(registrable(against="1"), local_registry, model_name)
    assert (again["version"], again["run_id"]) == (first["version"], first["run_id"])
    assert len(versions(local_registry, model_name)) == 1


def test_a_model_judged_again_keeps_its_version_and_takes_the_new_verdict(local_registry, model_name, registrable):
    register(registrable(verdict="blocked", auc=0.7), local_registry, model_name)
    made = register(registrable(auc=0.71), local_registry, model_name, "run-2")
    assert made["version"] == "1"
    version = versions(local_registry, model_name)[0]
    assert version.tags["gate"] == "passed"
    assert version.tags["decision_sha256"] == made["lineage"]["decision_sha256"]


@pytest.mark.parametrize("step", ["log_artifacts", "set_terminated", "create_model_version", "_record_decision", "check_compared"])
def test_killed_half_way_there_is_no_registration_and_the_next_run_completes_it(local_registry, model_name, registrable, tmp_path, step):
    """A real kill: a child that sends itself SIGKILL when it comes to the step."""
    paths = registrable()
    code = (
        "import json, os, sys\n"
        "from intermodal.components.register_model import logic\n"
        "arguments, step = json.loads(sys.argv[1]), sys.argv[2]\n"
        "def die(*a, **k): os.kill(os.getpid(), 9)\n"
        "from mlflow import MlflowClient\n"
        "setattr(MlflowClient if hasattr(MlflowClient, step) else logic, step, die)\n"
        "logic.register_model(**arguments)\n"
    )
    arguments = paths | {"registry": local_registry, "name": model_name, "run_name": "killed"}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(arguments), step], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not Path(paths["registration_path"]).exists()
    assert register(paths, local_registry, model_name, "killed")["version"] == "1"
    assert len(versions(local_registry, model_name)) == 1


def test_a_model_that_was_compared_with_an_earlier_champion_goes_no_further(local_registry, model_name, registrable, register_champion):
    register_champion(local_registry, model_name, "first")
    with pytest.raises(StoreError, match=r"champion of .* is now version 1, and version 2 was compared with none.*run the pipeline again"):
        register(registrable("second", against=None), local_registry, model_name, "run-2")
    assert register(registrable("third", verdict="blocked", against=None), local_registry, model_name, "run-3")["version"] == "3"
    assert champion(local_registry, model_name) == "1"


def test_two_at_once_make_one_version(tmp_path, model_name, registrable):
    registry = f"sqlite:///{tmp_path}/fresh/mlflow.db"  # the database, too, is made by both at once
    code = "import json, sys\nfrom intermodal.components.register_model.logic import register_model\nregister_model(**json.loads(sys.argv[1]))"

    def run(number):
        paths = registrable("same")
        arguments = paths | {"registry": registry, "name": model_name, "run_name": f"run-{number}"}
        return subprocess.run([sys.executable, "-c", code, json.dumps(arguments)], capture_output=True, text=True, check=False), paths

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(run, range(2)))
    assert [process.returncode for process, _ in done] == [0, 0], done[0][0].stderr + done[1][0].stderr
    assert len(versions(registry, model_name)) == 1


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path, registrable, model_name):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database at all, but long enough to be read as one" * 40)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"mlflow\.db.*not a database.*give another registry"):
        register(registrable(), f"sqlite:///{tmp_path}/mlflow.db", model_name)
    assert time.monotonic() - started < 5


def test_a_server_that_does_not_answer_is_named_with_its_address(registrable, model_name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+: no answer.*start the server"):
            register(registrable(), url, model_name)
    assert time.monotonic() - started < 5


def test_a_uri_of_another_kind_is_refused(registrable, model_name):
    with pytest.raises(ConfigurationError, match=r"registry: 'postgresql://me@host/db'.*sqlite:////"):
        register(registrable(), "postgresql://me@host/db", model_name)


@pytest.mark.fault(
    "Nobody in", "a password in the model registry's URI reaches register_model", "refused with the remedy; nothing is written, nothing shows it"
)
@pytest.mark.parametrize("uri", ["https://me:hunter22@127.0.0.1:1", "postgresql://me:hunter22@host/db", "http://127.0.0.1:1?token=hunter22"])
def test_a_password_in_the_uri_is_refused_and_not_shown(registrable, model_name, uri, tmp_path):
    inputs = registrable()
    with pytest.raises(ConfigurationError, match=r"registry carries a password.*MLFLOW_TRACKING_PASSWORD") as caught:
        register(inputs, uri, model_name)
    assert "hunter22" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter22" in path.read_bytes()]


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(not POSTGRES, reason="set INTERMODAL_TEST_POSTGRES"))]
)
def server(request, tmp_path_factory):
    """A real tracking server on loopback, with its artifacts behind it."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    store = f"sqlite:///{folder}/mlflow.db"
    if request.param == "postgresql":
        name = f"mlflow_{uuid.uuid4().hex[:8]}"
        in_database(f"CREATE DATABASE {name}")
        store = f"{POSTGRES.rpartition('/')[0]}/{name}"
    arguments = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts"), "--workers", "1"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        end_group(process)
        if request.param == "postgresql":
            in_database(f"DROP DATABASE {name} WITH (FORCE)")


def end_group(process):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(10)


def in_database(statement):
    import psycopg

    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(statement)


def test_a_tracking_server_registers_promotes_and_gives_back_the_same_bytes(server, model_name, registrable, register_champion, tmp_path, files_of):
    paths = register_champion(server, model_name)
    assert champion(server, model_name) == "1"
    assert register(paths, server, model_name)["version"] == "1"
    register_champion(server, model_name, "other", verdict="blocked", against="1")
    assert champion(server, model_name) == "1"
    assert len(versions(server, model_name)) == 2
    found = find_champion(registry=server, name=model_name)
    fetch_champion(registry=server, name=model_name, **dict(list(found._asdict().items())[:3]), champion_path=str(tmp_path / "champion"))
    assert files_of(tmp_path / "champion" / "model") == files_of(Path(paths["model_path"]))
    assert json.loads((tmp_path / "champion" / "champion.json").read_text())["version"] == "1"


def test_on_a_server_the_lower_of_two_versions_of_one_model_stays(server, model_name, registrable, monkeypatch):
    first = register(registrable(), server, model_name)
    look = logic._version_of
    looked = []  # the race: this one looked before the other had registered

    def late(*arguments):
        looked.append(arguments)
        return None if len(looked) == 1 else look(*arguments)

    monkeypatch.setattr(logic, "_version_of", late)
    again = register(registrable(against="1"), server, model_name, "run-2")
    assert again["version"] == first["version"]
    assert len(versions(server, model_name)) == 1
