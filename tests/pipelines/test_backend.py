"""The compiled Kubeflow pipeline, each task run as the backend runs it, gives what the local target gives."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from intermodal.authoring.images import IMAGES
from intermodal.configuration.targets import load_targets
from intermodal.execution.environments import environment
from intermodal.submission.prepare import find_destination, prepare
from tests.backend.launcher import Backend
from tests.pipelines.conftest import POSTGRES, REDIS, sql
from tests.servers.storage import s3_server

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (REDIS and POSTGRES),
        reason="needs servers: INTERMODAL_TEST_REDIS=host:port and INTERMODAL_TEST_POSTGRES=postgresql://user@host:port/database",
    ),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("bwrap") is None, reason="needs root and bubblewrap, to run tasks as another user on a read-only tree"
    ),
]
PASSWORD = "open-sesame"
TARGETS = """
[profiles.dev.kubeflow]
endpoint = "http://127.0.0.1:1"
root = "s3://pipelines/dev"
storage_endpoint = "{s3}"
image_repository = "registry.example/team"

[profiles.dev.kubeflow.set]
"registry" = "{mlflow}"
"serving.kubeflow.namespace" = "team-ml"
"gate.minimum" = {{ auc = 0.99 }}

[profiles.dev.kubeflow.set."features.store"]
project = "{project}"
registry = {{ registry_type = "sql", path = "{feast}" }}
online_store = {{ type = "redis", connection_string = "{redis}" }}

[profiles.dev.kubeflow.tasks.ingest-tables]
secrets = [{{ name = "storage", env = {{ AWS_ACCESS_KEY_ID = "id", AWS_SECRET_ACCESS_KEY = "secret", AWS_ENDPOINT_URL = "endpoint" }} }}]

[profiles.dev.kubeflow.tasks.fingerprint-sources]
secrets = [{{ name = "storage", env = {{ AWS_ACCESS_KEY_ID = "id", AWS_SECRET_ACCESS_KEY = "secret", AWS_ENDPOINT_URL = "endpoint" }} }}]

[profiles.dev.kubeflow.tasks.retrieve-features]
secrets = [{{ name = "feast", env = {{ FEAST_PASSWORD = "password" }} }}]

[profiles.dev.kubeflow.tasks.materialize-features]
secrets = [{{ name = "feast", env = {{ FEAST_PASSWORD = "password" }} }}]
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        client = boto3.Session().client("s3", endpoint_url=url)
        client.create_bucket(Bucket="pipelines")
        yield url


@pytest.fixture(scope="module")
def backend(s3, workplace, tracking_server, database, tmp_path_factory):
    """Run the compiled pipeline. The gate's bound is one that no model meets: what a passed one starts needs a cluster (deploy_kserve's tests)."""
    folder = tmp_path_factory.mktemp("backend")
    address = database("feast")
    user = f"feast_{uuid.uuid4().hex[:8]}"
    # `.ci/run` has its server ask members of this role for their password; any other server decides for itself.
    member = " IN ROLE intermodal_secret" if sql("SELECT 1 FROM pg_roles WHERE rolname = 'intermodal_secret'") else ""
    sql(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'{member}")
    sql(f"ALTER DATABASE {address.rpartition('/')[2]} OWNER TO {user}")
    feast = re.sub(r"^postgresql://[^@]*@", f"postgresql+psycopg://{user}:${{FEAST_PASSWORD}}@", address)
    text = TARGETS.format(s3=s3, mlflow=tracking_server, feast=feast, redis=REDIS, project=f"p{uuid.uuid4().hex[:8]}")
    (folder / "targets.toml").write_text(text)
    digests = {image: f"sha256:{number:064x}" for number, image in enumerate(IMAGES)}  # only such images are cached
    destination = find_destination(load_targets(folder / "targets.toml"), "kubeflow", "dev")
    submission = prepare(workplace.configuration, destination, key="backend", digests=digests)
    client = boto3.Session().client("s3", endpoint_url=s3)
    secrets = {"storage": {"id": "test", "secret": "test", "endpoint": s3}, "feast": {"password": PASSWORD}}
    made = Backend(submission.specification, submission.platform, client, "s3://pipelines/dev/run", folder / "tasks", secrets)
    (folder / "tasks").mkdir()
    folder.chmod(0o755)
    made.run(submission.parameters)
    yield made
    sql(f"ALTER DATABASE {address.rpartition('/')[2]} OWNER TO CURRENT_USER")
    sql(f"DROP OWNED BY {user}", address)
    sql(f"DROP ROLE {user}")


@pytest.fixture(scope="module")
def local(first_run, workplace):
    return min((workplace.home / "runs").iterdir(), key=lambda each: each.stat().st_mtime)


@pytest.fixture(scope="module")
def fetched(backend, tmp_path_factory):
    """Return a function that gives an output of the backend's run, from the store, as a path."""
    folder = tmp_path_factory.mktemp("fetched")

    def fetch(task: str, output: str) -> Path:
        uri = backend.done[task][output]["uri"]
        backend._fetch(uri, folder)
        return folder / uri.removeprefix("s3://")

    return fetch


def made_here(local, task, output) -> Path:
    return next(local.glob(f"{task}/**/{output}"))


def test_every_task_ran_that_a_blocked_model_leads_to(backend):
    assert set(backend.done) >= {
        "find-champion",
        "fetch-champion",
        "fingerprint-sources",
        "ingest-tables",
        "transform-tables",
        "retrieve-features",
        "validate-data",
        "require-valid-data",
        "materialize-features",
        "train-model",
        "evaluate-model",
        "gate-model",
        "register-model",
        "render-report-2",
    }
    assert not {"deploy-kserve", "promote-model"} & set(backend.done)


def test_the_tables_are_the_same(fetched, local):
    theirs = json.loads((fetched("ingest-tables", "tables") / "manifest.json").read_text())
    ours = json.loads((made_here(local, "ingest-tables", "tables") / "manifest.json").read_text())
    assert theirs["tables"] == ours["tables"]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_the_features_are_the_same(fetched, local, part):
    code = "import sys, pyarrow.parquet as pq; print(pq.read_table(sys.argv[1]).equals(pq.read_table(sys.argv[2])))"
    folders = [fetched("retrieve-features", "examples") / part, made_here(local, "retrieve-features", "examples") / part]
    done = subprocess.run([str(environment("data")), "-c", code, *map(str, folders)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("name", ["schema.pbtxt", "train.pb"])
def test_schema_and_statistics_are_the_same(fetched, local, name):
    output = "schema" if name.endswith("pbtxt") else "statistics"
    assert (fetched("validate-data", output) / name).read_bytes() == (made_here(local, "validate-data", output) / name).read_bytes()


def test_the_model_scores_the_same(fetched, local):
    theirs = json.loads((fetched("evaluate-model", "evaluation") / "evaluation.json").read_text())["models"]["challenger"]["metrics"]
    ours = json.loads((made_here(local, "evaluate-model", "evaluation") / "evaluation.json").read_text())["models"]["challenger"]["metrics"]
    assert {name: each["value"] for name, each in theirs.items()} == pytest.approx({name: each["value"] for name, each in ours.items()}, abs=1e-6)


def test_the_gate_blocked_it_and_it_is_registered_without_becoming_the_champion(fetched, backend):
    decision = json.loads((fetched("gate-model", "decision") / "decision.json").read_text())
    assert decision["verdict"] == "blocked"
    registration = json.loads((fetched("register-model", "registration") / "registration.json").read_text())
    assert registration["version"] in ("1", 1)
    assert registration["registry"].startswith("http://127.0.0.1")


def test_the_report_is_there(fetched):
    assert "<html" in fetched("render-report-2", "report").read_text()


def again(backend, folder: str) -> Backend:
    """Run the same submission once more."""
    place = backend.folder.with_name(folder)
    place.mkdir()
    later = replace(backend, root=f"s3://pipelines/dev/{folder}", folder=place, done={}, cached=set())
    later.run(backend.parameters)
    return later


@pytest.mark.fault(
    "Kubeflow", "the whole pipeline run again, with its tasks as the backend runs and caches them", "what touches no store does not run"
)
def test_a_second_run_computes_nothing_until_there_is_another_champion(backend, fetched, tracking_server):
    always = {"fingerprint-sources", "find-champion", "materialize-features", "register-model", "render-report-2"}
    # The gate is told which models its rows have judged, so it runs once more after each that they did.
    assert again(backend, "second").ran == always | {"gate-model"}
    alias = {"name": "flight-delay", "alias": "champion", "version": "1"}
    request = urllib.request.Request(f"{tracking_server}/api/2.0/mlflow/registered-models/alias", json.dumps(alias).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=20).close()
    third = again(backend, "third")
    assert third.done["find-champion"]["version"] == "1"
    assert third.ran == always | {"fetch-champion", "validate-data", "require-valid-data", "train-model", "evaluate-model", "gate-model"}
    assert again(backend, "fourth").ran == always | {"gate-model"}
    assert again(backend, "fifth").ran == always


def test_no_password_is_in_a_parameter_and_no_task_printed_one(backend):
    assert PASSWORD not in json.dumps(backend.specification)
    assert not any(PASSWORD in text for text in backend.logs.values())


def test_the_walls_hold_a_task_that_would_write_elsewhere(backend, tmp_path):
    for name in ("tmp", "s3"):
        (tmp_path / name).mkdir()
        shutil.chown(tmp_path / name, 23456, 0)
    tmp_path.chmod(0o755)
    places = '/ /etc /opt/intermodal/src /usr "$(dirname "$(command -v python3)")"'
    script = f'id -u; for each in {places}; do touch "$each/x" 2>/dev/null && echo "$each"; done; touch /tmp/x /s3/x'
    done = subprocess.run([*backend._walls("track", tmp_path, {}), "sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["23456"]
    assert (tmp_path / "tmp" / "x").exists()
