"""The same pipeline with servers where a team would have them, by configuration alone: Redis, PostgreSQL, an MLflow tracking server."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pytest

from intermodal.targets.environments import environment

REDIS, POSTGRES = os.environ.get("INTERMODAL_TEST_REDIS"), os.environ.get("INTERMODAL_TEST_POSTGRES")
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (REDIS and POSTGRES),
        reason="needs servers: INTERMODAL_TEST_REDIS=host:port and INTERMODAL_TEST_POSTGRES=postgresql://user@host:port/database",
    ),
]


def sql(statement: str, url: str | None = None) -> list:
    code = (
        "import json, psycopg, sys\n"
        "with psycopg.connect(sys.argv[1], autocommit=True) as connection:\n"
        "    cursor = connection.execute(sys.argv[2])\n"
        "    print(json.dumps(cursor.fetchall() if cursor.description else []))"
    )
    done = subprocess.run([str(environment("data")), "-c", code, url or POSTGRES, statement], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture
def database():
    """Make databases that end with the test."""
    made = []

    def make(name: str) -> str:
        made.append(f"{name}_{uuid.uuid4().hex[:8]}")
        sql(f"CREATE DATABASE {made[-1]}")
        return f"{POSTGRES.rpartition('/')[0]}/{made[-1]}"

    yield make
    for name in made:
        sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def tracking_server(database, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = ["server", "--backend-store-uri", database("mlflow"), "--artifacts-destination", str(tmp_path / "artifacts"), "--workers", "1"]
    with (tmp_path / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            [str(environment("track")), "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, (tmp_path / "mlflow.log").read_text()
                time.sleep(0.25)
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def redis_keys() -> int:
    host, _, port = REDIS.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"DBSIZE\r\n")
        return int(connection.recv(64).decode().strip().lstrip(":"))


def test_the_pipeline_runs_on_redis_postgresql_and_a_tracking_server(workplace, tracking_server, database, tmp_path, say):
    before = redis_keys()
    feast = database("feast")
    registry = {"registry_type": "sql", "path": feast.replace("postgresql://", "postgresql+psycopg://"), "cache_ttl_seconds": 0}
    store = {"project": f"p{uuid.uuid4().hex[:8]}", "registry": registry, "online_store": {"type": "redis", "connection_string": REDIS}}
    try:
        done = workplace.run(
            "--home",
            tmp_path / "home",
            "--set",
            f"features.store={json.dumps(store)}",
            "--set",
            f"stores.model_registry={tracking_server}",
            "--set",
            f"serving.port={free_port()}",
        )
        assert say(done, "Gate") == "passed"
        assert redis_keys() > before
        assert sql("SELECT count(*) FROM feature_views", feast)[0][0] > 0
        question = f"{tracking_server}/api/2.0/mlflow/registered-models/alias?name=flight-delay&alias=champion"
        with urllib.request.urlopen(question, timeout=10) as answer:
            assert json.load(answer)["model_version"]["version"] == "1"
        assert not (tmp_path / "home" / "stores").exists(), "nothing is kept on this disk beside the servers"
    finally:
        workplace.intermodal("serve", "--home", tmp_path / "home", "stop", "flight-delay")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
