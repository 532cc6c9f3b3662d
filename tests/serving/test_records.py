import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from intermodal.runtime.errors import StoreError
from intermodal.serving.records import Deployment, deployments, end_process, start_time, stop


@pytest.fixture
def process():
    made = []

    def start(code: str = "import time; time.sleep(60)") -> "subprocess.Popen[bytes]":
        made.append(subprocess.Popen([sys.executable, "-c", f"print(flush=True); {code}"], stdout=subprocess.PIPE))
        made[-1].stdout.readline()
        return made[-1]

    yield start
    for each in made:
        each.kill()
        each.wait()


def record(home: Path, pid: int, **changes) -> Deployment:
    values = {"name": "toy", "url": "http://127.0.0.1:1", "version": "3", "pid": pid, "started": start_time(pid) or 0, "port": 1}
    values |= {"model_sha256": "0" * 64, "log": "log", "since": "2026-01-01T00:00:00+00:00"}
    made = Deployment(**values | changes)
    made.save(home)
    return made


def test_what_is_served_is_listed_by_name_with_whether_it_lives(tmp_path, process):
    running = process()
    record(tmp_path, running.pid)
    record(tmp_path, running.pid, name="other", started=1)
    assert [(each.name, each.version, each.alive) for each in deployments(tmp_path)] == [("other", "3", False), ("toy", "3", True)]
    assert deployments(tmp_path / "none") == []


def test_stop_ends_the_process_and_forgets_it(tmp_path, process):
    running = process()
    record(tmp_path, running.pid)
    assert stop(tmp_path, "toy").pid == running.pid
    assert running.wait(5) == -15
    assert deployments(tmp_path) == []


def test_stop_ends_a_server_that_is_being_replaced_too(tmp_path, process):
    old, new = process(), process()
    before = record(tmp_path, old.pid)
    record(tmp_path, new.pid, predecessor=vars(before))
    stop(tmp_path, "toy")
    assert (old.wait(5), new.wait(5)) == (-15, -15)


def test_one_that_does_not_listen_is_killed(tmp_path, process):
    deaf = process("import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)")
    deaf.stdout.readline()
    record(tmp_path, deaf.pid)
    stop(tmp_path, "toy", patience=0.3)
    assert deaf.wait(5) == -9


def test_a_pid_that_another_process_has_since_is_left_alone(tmp_path, process):
    stranger = process()
    record(tmp_path, stranger.pid, started=start_time(stranger.pid) - 1)
    stop(tmp_path, "toy")
    assert stranger.poll() is None
    assert deployments(tmp_path) == []


def test_a_name_that_is_not_served_is_told_with_those_that_are(tmp_path, process):
    record(tmp_path, process().pid)
    with pytest.raises(StoreError, match="'tpy' is not served; these are: toy"):
        stop(tmp_path, "tpy")
    with pytest.raises(StoreError, match="nothing is served there"):
        stop(tmp_path / "none", "toy")
    assert not (tmp_path / "tpy").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "toy"}'])
def test_a_record_that_cannot_be_read_is_told(tmp_path, text):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "record.json").write_text(text)
    with pytest.raises(StoreError, match=r"record\.json: not the record of a deployment"):
        deployments(tmp_path)


def test_a_process_that_ended_but_is_not_waited_for_does_not_live(process):
    ended = process("pass")
    started = time.monotonic()
    while start_time(ended.pid) is not None:
        assert time.monotonic() - started < 5
        time.sleep(0.01)
    end_process(ended.pid, 1)


def test_a_record_says_everything_it_was_given(tmp_path, process):
    made = record(tmp_path, process().pid)
    assert deployments(tmp_path) == [made]
    assert replace(made, version="4") != made
