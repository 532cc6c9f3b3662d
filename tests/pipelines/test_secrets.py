"""Canary passwords: given to a whole run as it takes them, or planted where they do not belong, and looked for in all that is left behind."""

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pipelines.conftest import COMMAND, ROOT
from tests.ports import free_port

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")]
CANARY = "c4nary/pa55@word"
OTHER = "an0ther-c4nary"
FORMS = [each.encode() for each in (CANARY, "c4nary%2Fpa55%40word", OTHER, "c4nary", "pa55@word", "pa55%40word")]


@contextmanager
def redis(folder, password):
    """A Redis on loopback that asks for a password."""
    port = free_port()
    (folder / "redis.conf").write_text(f'bind 127.0.0.1\nport {port}\nsave ""\nrequirepass "{password}"\n')
    with (folder / "redis.log").open("w") as log:
        server = subprocess.Popen(["redis-server", str(folder / "redis.conf")], stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(100):
            if "Ready to accept" in (folder / "redis.log").read_text():
                break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def run(workplace, home, address, *arguments, **variables):
    store = {
        "registry": "{home}/stores/feast/registry.db",
        "online_store": {"type": "redis", "connection_string": f"{address},password=${{REDIS_ACCESS}}"},
    }
    return subprocess.run(
        [str(COMMAND), "run", str(workplace.configuration), "--home", str(home), "--set", f"features.store={json.dumps(store)}", *arguments],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "REDIS_ACCESS"} | {"COLUMNS": "160", "TERM": "dumb"} | variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=500,
        check=False,
    )


def leaks(folder: Path, done) -> list[str]:
    """Return what shows a canary: files by name and by content, and what the terminal got."""
    found = [str(path) for path in folder.rglob("*") if path.is_file() and any(form in path.read_bytes() for form in FORMS)]
    found += [str(path) for path in folder.rglob("*") if any(form in os.fsencode(path.name) for form in FORMS)]
    return found + [name for name in ("stdout", "stderr") if any(form in getattr(done, name).encode() for form in FORMS)]


@pytest.mark.fault(
    "Nobody in",
    "a whole run with an online store's and a registry's password in the environment",
    "it works, and no file, log, parameter or output shows them",
)
def test_a_run_uses_a_password_and_leaves_none_behind(workplace, tmp_path):
    home = tmp_path / "home"
    (tmp_path / "server").mkdir()
    with redis(tmp_path / "server", CANARY) as address:
        try:
            known = {"REDIS_ACCESS": CANARY, "MLFLOW_TRACKING_PASSWORD": OTHER, "AWS_SECRET_ACCESS_KEY": OTHER}
            done = run(workplace, home, address, "--set", f"serving.local.port={free_port()}", **known)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
            assert leaks(home, done) == []
            written = next(home.rglob("materialization.json")).read_text()
            assert f"{address},password=${{REDIS_ACCESS}}" in written
            keys = subprocess.run(
                ["redis-cli", "-h", "127.0.0.1", "-p", address.partition(":")[2], "dbsize"],
                env=os.environ | {"REDISCLI_AUTH": CANARY},
                capture_output=True,
                text=True,
                check=True,
                timeout=20,
            )
            assert int(keys.stdout.split()[-1]) > 0, "the password was used"
        finally:
            workplace.intermodal("serve", "--home", home, "stop", "flight-delay")

    (tmp_path / "other").mkdir()
    with redis(tmp_path / "other", "something else") as address:
        done = run(workplace, home, address, **known)
        assert done.returncode == 1
        assert "materialize-features" in done.stderr
        assert "password" in done.stderr.lower()
        assert leaks(home, done) == []

    done = run(workplace, home, address)
    assert done.returncode == 1
    assert "REDIS_ACCESS is not set" in done.stderr


PLACES = {
    "the registry": "registry=https://me:{}@mlflow.example",
    "the registry, by query": "registry=https://mlflow.example?access_token={}",
    "deployments": "serving.local.deployments=https://me:{}@serve.example",
    "Feast's registry": 'features.store={{"registry": {{"registry_type": "sql", "path": "postgresql+psycopg://me:{}@db/feast"}}}}',
    "Feast's registry, by query": "features.store.registry=postgresql://db/feast?sslpassword={}",
    "Feast's online store": 'features.store={{"online_store": {{"type": "redis", "connection_string": "localhost:6379,password={}"}}}}',
    "a key of Feast's": 'features.store={{"online_store": {{"type": "postgres", "host": "h", "password": "{}"}}}}',
    "a source": 'data.sources=[{{"name": "rows", "uri": "s3://AKIDEXAMPLE:{}@bucket/rows.csv"}}]',
    "a signed source": 'data.sources=[{{"name": "rows", "uri": "https://host/rows.csv?sv=1&sig={}"}}]',
    "a hyperparameter": 'training.hyperparameters={{"tracker": {{"api_key": "{}"}}}}',
    "an option of Beam": 'validation.beam_options=["--password={}"]',
    "the serving resources": 'serving.resources={{"token": "{}"}}',
    "a key that is none": "stores.modelregistry=https://me:{}@mlflow.example",
    "a key of the wrong type": "seed=redis://:{}@host",
    "broken YAML": "registry=[https://me:{}@mlflow.example",
}


@pytest.mark.fault("Nobody in", "a password planted in any place of a configuration", "refused; neither the terminal nor any file shows it")
@pytest.mark.parametrize("place", PLACES)
def test_a_password_that_is_planted_is_refused_and_nowhere(workplace, tmp_path, place):
    done = subprocess.run(
        [str(COMMAND), "run", str(workplace.configuration), "--home", str(tmp_path / "home"), "--set", PLACES[place].format("c4nary%2Fpa55%40word")],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "160", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert leaks(tmp_path, done) == []
