"""The content of deployment.json."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.serving.endpoint import open_inference, version_of, write_deployment
from intermodal.serving.smoke_test import Exchange

# A shell's word holds no NUL, and JSON writes anything beyond ASCII in ASCII.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def written(**deployment):
    with tempfile.TemporaryDirectory() as folder:
        metadata = write_deployment(f"{folder}/deployment", **deployment)
        made = json.loads(Path(folder, "deployment", "deployment.json").read_text())
    assert metadata == {key: made[key] for key in ("name", "url", "version", "tested")}
    return made


def words(command: str) -> list[str]:
    """Return what a shell gives `curl`: it is run, with functions in the programs' place."""
    functions = 'curl() { printf "%s\\0" "$@"; }; gcloud() { echo "token of $*"; }; '
    done = subprocess.run(["bash", "-c", functions + command], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.fault("Serving", "values with quotes, spaces and `$(...)` in the printed command", "the shell gives curl exactly the request")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # each example starts a shell
@given(column=texts, value=texts, host=st.sampled_from(["http://127.0.0.1:80", "http://it's a host", "http://x/$(touch pwned)"]))
def test_the_command_sends_exactly_the_request(column, value, host):
    exchange = Exchange("one row", {"instances": [{column: value}]}, {"predictions": [0.5]})
    made = written(name="toy", url=host, version="3", protocols=open_inference(host, "toy"), exchange=exchange)
    assert words(made["command"]) == [
        "-s",
        f"{host}/v1/models/toy:predict",
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps(exchange.request),
    ]
    assert made["protocols"]["v2"] == f"{host}/v2/models/toy/infer"


def test_the_token_is_asked_for_when_the_command_runs():
    exchange = Exchange("one row", {"instances": [{"it's": 1}]}, {})
    made = written(name="toy", url="https://e", version="3", protocols={"v1": "https://e:predict"}, exchange=exchange, google_token=True)
    assert words(made["command"])[1:4] == ["https://e:predict", "-H", "Authorization: Bearer token of auth print-access-token"]


def test_the_version_is_the_one_given_or_the_registered_one_or_none(tmp_path):
    (tmp_path / "registration.json").write_text('{"version": 3}')
    assert (version_of(str(tmp_path), "7"), version_of(str(tmp_path), ""), version_of(None, "")) == ("7", "3", "")
