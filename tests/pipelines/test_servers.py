"""The same pipeline with servers where a team would have them, by configuration alone: Redis, PostgreSQL, an MLflow tracking server."""

import json
import socket
import urllib.request
import uuid

import pytest

from tests.pipelines.conftest import POSTGRES, REDIS, sql
from tests.ports import free_port

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (REDIS and POSTGRES),
        reason="needs servers: INTERMODAL_TEST_REDIS=host:port and INTERMODAL_TEST_POSTGRES=postgresql://user@host:port/database",
    ),
]


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
            f"registry={tracking_server}",
            "--set",
            f"serving.local.port={free_port()}",
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
