"""A project in a folder whose name means something to a glob, to SQL, to a shell and to rich: the whole pipeline runs there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.pipelines.conftest import ROOT, flights_slice, printed

pytestmark = pytest.mark.timeout(600)
NAME = "a [x] 'q' b"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd") / NAME
    folder.mkdir()
    made = flights_slice(folder)
    shutil.copytree(ROOT / "feature_repo", folder / "feature_repo")
    settings = yaml.safe_load(made.configuration.read_text())
    settings["features"]["repository"] = "feature_repo"
    made.configuration.write_text(yaml.safe_dump(settings))
    yield made
    made.intermodal("serve", "stop", "flight-delay")


@pytest.mark.fault(
    "Local runs", "home and project in a folder named `a [x] 'q' b`", "the pipeline runs, and every printed command and path can be pasted"
)
def test_the_pipeline_runs_in_a_folder_with_brackets_quotes_and_spaces(place):
    # From outside the project, so that what is printed has the folder's name in it.
    done = place.run()
    assert printed(done, "Gate") == "passed"
    assert str(place.home) in printed(done, "Report")
    assert Path(printed(done, "Report")).read_text().lstrip().lower().startswith("<!doctype html")
    written = next((place.home / "runs").glob("*/serve-model/deployment/deployment.json"))
    for command in (printed(done, "Call it"), json.loads(written.read_text())["command"]):
        said = subprocess.run(["bash", "-c", command], cwd="/", capture_output=True, text=True, timeout=60, check=True)
        assert 0 < json.loads(said.stdout)["predictions"][0] < 1
    assert "serving" in place.intermodal("serve", "list").stdout


def test_a_failed_task_names_its_log_as_it_is(place):
    flights = place.configuration.parent / "flights.csv"
    whole = flights.read_bytes()
    try:
        flights.write_bytes(whole.replace(b"sched_dep_time", b"scheduled_departure", 1))
        done = place.intermodal("run", place.configuration)
    finally:
        flights.write_bytes(whole)
    assert done.returncode == 1
    assert Path(re.search(r"Its log: (.+)", done.stderr)[1]).is_file()
