"""The predictor where a managed endpoint starts it: told by variables, its model in Cloud Storage."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from intermodal.runtime.errors import StoreError
from intermodal.serving.directory import model_folder
from tests.ports import free_port
from tests.servers.storage import gcs_server
from tests.serving.conftest import ROWS

PREDICT, HEALTH = "/v1/endpoints/7/deployedModels/9:predict", "/v1/endpoints/7/deployedModels/9"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory, models):
    """A Cloud Storage emulator with the model `first` at gs://models/runs/1/model, and a neighbour whose name begins alike."""
    folder = tmp_path_factory.mktemp("gcs")
    with gcs_server(folder) as url:
        client = storage.Client(project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
        made = client.create_bucket("models")
        for path in (models / "first").rglob("*"):
            if path.is_file():
                made.blob(f"runs/1/model/{path.relative_to(models / 'first')}").upload_from_filename(str(path))
        made.blob("runs/1/model-other/signature.json").upload_from_string("{}")
        made.blob("runs/1/model/assets/").upload_from_string("")  # the console writes such objects for folders
        yield url


@contextmanager
def predictor(bucket, log, *arguments, **variables):
    port = free_port()
    told = {
        "STORAGE_EMULATOR_HOST": bucket,
        "AIP_HTTP_PORT": str(port),
        "AIP_PREDICT_ROUTE": PREDICT,
        "AIP_HEALTH_ROUTE": HEALTH,
        "AIP_STORAGE_URI": "gs://models/runs/1/model",
        "TMPDIR": str(log.parent),
    }
    command = [sys.executable, "-m", "intermodal.serving.predictor", "--model_name", "model", *arguments]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=os.environ | told | variables, stdout=file, stderr=file)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def ask(url, body=None):
    request = urllib.request.Request(url, body if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def wait(process, url, log):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            return ask(url + HEALTH)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_it_fetches_its_model_and_answers_under_the_routes_it_is_told(bucket, tmp_path, expected):
    with predictor(bucket, tmp_path / "log") as (process, url):
        assert wait(process, url, tmp_path / "log") == (200, {"name": "model", "ready": True})
        probabilities = pytest.approx([expected(row, 0.0) for row in ROWS], abs=1e-6)
        assert ask(url + PREDICT, {"instances": ROWS, "parameters": {}}) == (200, {"predictions": probabilities})
        assert ask(url + "/v1/models/model:predict", {"instances": ROWS}) == (200, {"predictions": probabilities})
        status, answer = ask(url + PREDICT, {"instances": [{"carrier": "AA"}]})
        assert status == 400
        assert "instances[0].hour is missing or null" in answer["error"]


def test_a_model_that_is_not_there_ends_it_with_a_sentence(bucket, tmp_path):
    with predictor(bucket, tmp_path / "log", AIP_STORAGE_URI="gs://models/runs/2/model") as (process, _):
        assert process.wait(60) == 1
    assert "error: gs://models/runs/2/model: there is nothing" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_bucket_that_cannot_be_read_and_another_store_are_said_so(bucket, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket)
    with pytest.raises(StoreError, match="gs://absent/model: cannot be read"):
        model_folder("gs://absent/model")
    with pytest.raises(ValueError, match="s3://models/model: directories and gs:// are read here"):
        model_folder("s3://models/model")


def test_a_directory_is_taken_as_it_is(tmp_path):
    (tmp_path / "a b").mkdir()
    assert model_folder(str(tmp_path / "a b")) == tmp_path / "a b"
    assert model_folder((tmp_path / "a b").as_uri()) == tmp_path / "a b"
