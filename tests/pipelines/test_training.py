"""The training pipeline, whole, over a slice of the real flights, in a folder whose name means something to a glob, to SQL, to a shell and to rich.

The tests run in their order: each finds what the ones before left.
"""

import json
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)
COMPUTED = [
    "fetch-champion",
    "ingest-tables",
    "transform-tables",
    "retrieve-features",
    "validate-data",
    "require-valid-data",
    "train-model",
    "evaluate-model",
    "gate-model",
]
STEPS = [
    *COMPUTED,
    "find-champion",
    "fingerprint-sources",
    "materialize-features",
    "register-model",
    "serve-model",
    "promote-model",
    "render-report",
]


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def ready(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/flight-delay/ready", timeout=10) as answer:
        return answer.status == 200


def test_a_run_ends_with_a_served_model_a_prediction_and_a_report(first_run, workplace, say):
    assert say(first_run, "Gate") == "passed"
    assert f":{workplace.port}" in say(first_run, "Serving")
    assert 0 < float(re.search(r"probability ([0-9.e-]+)", first_run.stdout)[1]) < 1
    assert "curl" in say(first_run, "Call it")
    page = Path(say(first_run, "Report")).read_text()
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "flight-delay" in page


def test_every_step_is_shown_with_its_time(first_run):
    for step in STEPS:
        assert re.search(rf"{step}\b.*\d\.\d ?s", first_run.stdout), f"{step} is not shown with its time:\n{first_run.stdout}"


def test_the_printed_line_calls_the_model_and_it_takes_raw_rows(first_run, say):
    command = say(first_run, "Call it")
    url = re.search(r"http://[^\s']+", command)[0]
    (body,) = [each.removeprefix("@") for each in shlex.split(command) if each.startswith("@")]
    row = json.loads(Path(body).read_text())["instances"][0]
    unknown = {key: ("NEVER-SEEN" if isinstance(value, str) else value) for key, value in row.items()}
    predictions = post(url, {"instances": [row, unknown]})["predictions"]
    assert predictions[0] == pytest.approx(post(url, {"instances": [row]})["predictions"][0], abs=1e-6)
    assert all(0 < each < 1 for each in predictions)
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(url, {"instances": [{"no_such_column": 1}]})
    assert refused.value.code == 400


@pytest.mark.fault(
    "Local runs", "home and project in a folder named `a [x] 'q' b`", "the pipeline runs, and every printed command and path can be pasted"
)
def test_what_is_printed_can_be_pasted_from_a_folder_with_brackets_quotes_and_spaces(first_run, workplace, say):
    assert workplace.home.parent.name == "a [x] 'q' b"
    assert str(workplace.home) in say(first_run, "Report")
    written = next((workplace.home / "runs").glob("*/serve-model/deployment/deployment.json"))
    for command in (say(first_run, "Call it"), json.loads(written.read_text())["command"]):
        answer = subprocess.run(["bash", "-c", command], cwd="/", capture_output=True, text=True, timeout=60, check=True)
        assert 0 < json.loads(answer.stdout)["predictions"][0] < 1
    assert "serving" in workplace.intermodal("serve", "list").stdout


def test_a_second_run_meets_the_champion_and_a_third_computes_nothing(first_run, workplace, say):
    assert workplace.run().returncode == 0
    third = workplace.run()
    for step in COMPUTED:
        assert re.search(rf"{step}\b.*cached", third.stdout), f"{step} ran again:\n{third.stdout}"
    assert say(third, "Gate") == "passed"
    assert ready(workplace.port)


def test_a_blocked_model_is_reported_and_the_old_one_goes_on_serving(first_run, workplace, say):
    blocked = workplace.run("--set", "gate.minimum.auc=0.99")
    assert say(blocked, "Gate") == "blocked"
    assert "0.99" in blocked.stdout
    assert "Serving" not in blocked.stdout
    assert Path(say(blocked, "Report")).exists()
    assert ready(workplace.port)


def test_bad_data_stops_the_run_in_words_and_leaves_the_server(first_run, workplace):
    flights = workplace.configuration.parent / "flights.csv"
    whole = flights.read_bytes()
    try:
        flights.write_bytes(whole.replace(b"sched_dep_time", b"scheduled_departure", 1))
        done = workplace.intermodal("run", workplace.configuration)
    finally:
        flights.write_bytes(whole)
    assert done.returncode == 1
    assert "sched_dep_time" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert Path(re.search(r"Its log: (.+)", done.stderr)[1]).is_file()
    assert ready(workplace.port)


def test_the_command_line_lists_and_ends_the_server(first_run, workplace):
    assert "flight-delay" in workplace.intermodal("serve").stdout
    assert workplace.intermodal("serve", "stop", "flight-delay").returncode == 0
    with pytest.raises(OSError, match="refused"):
        ready(workplace.port)
