import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from intermodal.runtime.errors import ConfigurationError, DeploymentError, MachineError
from intermodal.serving.records import deployments, start_time, stop

ROW = {"carrier": "AA", "distance": 1.5, "hour": 3}


def until(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


class Clients:
    """Ask without a pause, half of them with a new connection a request, half with one kept open, and note what was answered."""

    def __init__(self, place, expected):
        self.answers, self.failures, self._stop = [], [], threading.Event()
        self._place, self._expected = place, expected
        self._threads = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, keep):
        connection = http.client.HTTPConnection("127.0.0.1", self._place.port, timeout=30)
        while not self._stop.is_set():
            try:
                headers = {"Content-Type": "application/json"} | ({} if keep else {"Connection": "close"})
                connection.request("POST", "/v1/models/toy:predict", json.dumps({"instances": [ROW]}), headers)
                answer = connection.getresponse()
                body = json.loads(answer.read())
                self.answers.append((answer.status, round(body["predictions"][0], 4)))
            except Exception as error:  # every failure counts, of whatever kind
                self.failures.append(repr(error))
                connection.close()
        connection.close()


def test_the_record_is_a_real_exchange_and_a_line_to_copy(served, expected):
    made = json.loads(next(served.folder.glob("inputs-*/deployment/deployment.json")).read_text())
    assert (made["name"], made["url"], made["version"]) == ("toy", served.url, "1")
    assert made["protocols"] == {"v1": f"{served.url}/v1/models/toy:predict", "v2": f"{served.url}/v2/models/toy/infer"}
    assert served.ask("/v1/models/toy:predict", made["request"]) == (200, made["response"])
    said = subprocess.run(made["command"], shell=True, capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(said.stdout) == made["response"]


def test_the_same_model_again_leaves_the_server_and_takes_the_new_version(served):
    before = served.record
    assert served.serve("first", version="2")["version"] == "2"
    after = served.record
    assert (after.pid, after.started, after.version) == (before.pid, before.started, "2")
    listed = deployments(served.home)
    assert [(each.name, each.alive, each.url) for each in listed] == [("toy", True, served.url)]


def test_it_runs_in_a_session_of_its_own_from_a_copy_of_the_model(served):
    pid = served.record.pid
    assert os.getsid(pid) == pid
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    folder = Path(command[command.index("--model_dir") + 1])
    assert folder.is_relative_to(served.home)
    assert (folder / "saved_model.pb").read_bytes() == (served.models / "first" / "saved_model.pb").read_bytes()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "second", "expect": "first"}, r"answers 0\.88.* over V1 for row 0 of smoke\.json, where 0\.73"),
        ({"model": "broken"}, r"ended with status 1; see its log .*\.log, which ends:\n(.*\n)*error: .*not a SavedModel that can be read"),
        ({"model": "second", "timeout": 0.2}, r"did not answer within 0\.2 s; raise timeout"),
    ],
)
def test_a_new_server_that_is_wrong_or_crashes_or_is_late_leaves_the_old_one_serving(served, expected, changes, words):
    before = served.record
    with Clients(served, expected) as clients, pytest.raises(DeploymentError, match=words):
        served.serve(**changes)
    assert clients.failures == []
    assert set(clients.answers) == {(200, round(expected(ROW, 0.0), 4))}
    assert served.record == before
    assert before.alive
    others = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if str(served.home) in text_of(path)]
    assert others == [str(before.pid)]


def text_of(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_replacement_fails_no_request_and_a_run_killed_in_the_middle_is_finished_by_the_next(place, expected):
    """One place through its life, for each start of a server takes seconds."""
    # A task killed while its server is on trial: the server goes with it, and the port is free again.
    task = place.start_task("first")
    until(lambda: list((place.home / "toy").glob("*.log")) if place.home.exists() else False)
    task.send_signal(signal.SIGKILL)
    task.communicate()
    until(lambda: not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(place.home) in text_of(path)])
    assert place.record is None

    place.serve("first")
    first = place.record
    # Killed right after the new server took over: both run, and both are on record.
    with Clients(place, expected) as clients:
        task = place.start_task("second", "logic.end_process = lambda *a, **k: os.kill(os.getpid(), 9)", version="2")
        said, _ = task.communicate(timeout=90)
        assert task.returncode == -signal.SIGKILL, said
        both = place.record
        assert both.alive
        assert both.replaced == first
        assert first.alive
        # The next run finds the model served already, and ends the one that was to go.
        assert place.serve("second", version="2")["version"] == "2"
        time.sleep(0.3)
    assert clients.failures == []
    assert {status for status, _ in clients.answers} == {200}
    assert clients.answers[-1][1] == round(expected(ROW, 1.0), 4)
    assert {answer for _, answer in clients.answers} == {round(expected(ROW, bias), 4) for bias in (0.0, 1.0)}
    assert not first.alive
    assert place.record.replaced is None
    assert place.record.pid == both.pid

    # Killed before it took over, after it was put on record: the old one stays.
    serving = place.record
    task = place.start_task("first", "server.Candidate.serve = lambda self: os.kill(os.getpid(), 9)", version="3")
    said, _ = task.communicate(timeout=90)
    assert task.returncode == -signal.SIGKILL, said
    assert place.record.replaced == serving
    assert place.serve("second", version="2")["version"] == "2"
    assert place.record == serving
    assert place.predict(ROW)[1]["predictions"] == pytest.approx([expected(ROW, 1.0)], abs=1e-6)

    stop(place.home, "toy")
    assert not serving.alive
    assert deployments(place.home) == []
    with pytest.raises(OSError, match="refused"):
        place.predict(ROW)


def test_a_port_that_something_else_has_is_told_with_its_holder_and_the_remedy(place):
    words = rf"port {place.port} of 127\.0\.0\.1: .*process {os.getpid()}, .*set port to another"
    with socket.create_server(("127.0.0.1", place.port)), pytest.raises(ConfigurationError, match=words):
        place.serve("first")
    assert deployments(place.home) == []


def test_a_full_disk_while_the_model_is_copied_leaves_no_half_model(place, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(MachineError, match="no room left"):
        place.serve("first")
    assert list((place.home / "toy" / "models").iterdir()) == []


def test_a_name_that_leads_elsewhere_is_refused(place):
    from intermodal.components.serve_model.logic import serve_model

    with pytest.raises(ConfigurationError, match=r"name: '\.\./x'"):
        serve_model(**place.arguments("first", name="../x"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"port": 0}, r"port: 0\.0|port: 0 must be at least 1 and at most 65535"),
        ({"timeout": 0.0}, "timeout: 0.0 must be above 0"),
        ({"tolerance": -1.0}, "tolerance: -1.0 must be at least 0"),
        ({"deployments": ""}, "deployments: it must not be empty"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_starts(place, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        place.serve("first", **changes)
    assert not place.home.exists()


def test_a_model_alone_is_served_and_the_output_says_that_only_an_example_was_tested(place):
    bare = place.folder / "bare"
    shutil.copytree(place.models / "first", bare)
    made = place.serve("first", model_path=str(bare), evaluation_path=None, registration_path=None)
    assert made["version"] == ""
    assert made["tested"] == "an example row got a well-formed answer over V1 and V2; there is no evaluation to compare it with"
    assert place.ask("/v1/models/toy:predict", made["request"]) == (200, made["response"])
    # Text for which no value is sure to fit: without the example the server must be ready, and no row is sent.
    (bare / "signature.json").unlink()
    made = place.serve("first", model_path=str(bare), evaluation_path=None, registration_path=None)
    assert (made["request"], made["command"]) == (None, "")
    assert made["tested"].startswith("the server is ready; no row was sent")
    assert place.predict({"carrier": "AA", "distance": 1.5, "hour": 3})[0] == 200


def test_a_keras_file_without_a_suffix_is_served_and_tested_with_a_row_of_zeros(place):
    import tensorflow as tf

    layers = [tf.keras.Input((3,), name="x"), tf.keras.layers.Dense(1, "sigmoid", kernel_initializer="ones")]
    tf.keras.Sequential(layers).save(place.folder / "model.keras")
    artifact = (place.folder / "model.keras").rename(place.folder / "artifact")
    made = place.serve("first", model_path=str(artifact), evaluation_path=None, registration_path=None)
    assert made["response"] == {"predictions": [0.5]}
    (name,) = made["request"]["instances"][0]
    assert made["request"] == {"instances": [{name: [0, 0, 0]}]}


def test_start_times_tell_processes_apart():
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(2**22 + 1) is None
