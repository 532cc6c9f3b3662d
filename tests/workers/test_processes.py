import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intermodal.runtime.errors import DataError, MachineError
from intermodal.workers.processes import run_processes

WORK = """
import json, os, pathlib, signal, sys, time
from intermodal.runtime.errors import DataError

def place():
    return json.loads(os.environ["TF_CONFIG"])

def attempt(folder):
    index = place()["task"]["index"]
    mine = pathlib.Path(folder, f"{index}-{len(list(pathlib.Path(folder).glob(f'{index}-*')))}")
    mine.write_text(str(os.getpid()))
    return int(mine.name.split("-")[1])

def quick(folder):
    attempt(folder)
    print(f"worker {place()['task']['index']} speaks")
    return {"addresses": place()["cluster"]["worker"], "threads": [os.environ[f"TF_NUM_{kind}OP_THREADS"] for kind in ("INTRA", "INTER")]}

def lost_once(folder):
    number, index = attempt(folder), place()["task"]["index"]
    if index == 1 and number == 0:
        print("I0000 00:00:1795307844.696533   27039 port.cc:153] custom operations are on", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 0:
        time.sleep(60)
    return number

def always_lost(folder):
    attempt(folder)
    if place()["task"]["index"] == 1:
        raise ValueError("the card 1 fell out")
    time.sleep(0.5)
    raise RuntimeError("UnavailableError: Connection reset by peer")

def refuses(folder):
    attempt(folder)
    if place()["task"]["index"] == 1:
        raise DataError("the label is null; label it")
    time.sleep(60)

def waits(folder):
    def last_words(*_):
        pathlib.Path(folder, f"ended-{place()['task']['index']}").touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, last_words)
    attempt(folder)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "work_of_workers.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    (tmp_path / "said").mkdir()
    return tmp_path / "said"


def run(name, folder, workers=2, restarts=1):
    return run_processes(f"work_of_workers:{name}", {"folder": str(folder)}, workers, restarts)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_until(found, seconds=30):
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pids(folder):
    return [int(path.read_text()) for path in folder.glob("[0-9]-*") if path.read_text()]


def test_each_worker_has_its_place_and_the_chief_is_heard(folder, capsys, monkeypatch):
    for kind in ("INTRA", "INTER"):
        monkeypatch.delenv(f"TF_NUM_{kind}OP_THREADS", raising=False)
    value = run("quick", folder, workers=3)
    assert len({*value["addresses"]}) == 3
    assert value["threads"] == [str(max(1, len(os.sched_getaffinity(0)) // 3))] * 2
    assert all(each.startswith("127.0.0.1:") for each in value["addresses"])
    assert capsys.readouterr().out == "worker 0 speaks\n"
    assert sorted(path.name for path in folder.iterdir()) == ["0-0", "1-0", "2-0"]


@pytest.mark.fault("Training", "one of two worker processes is killed by SIGKILL", "both start again, at most `restarts` times")
def test_all_start_again_when_one_is_killed(folder, capsys):
    assert run("lost_once", folder) == 1
    assert "worker 1 of 2 was killed by SIGKILL; all 2 start again (restart 1 of 1)" in capsys.readouterr().out
    assert all(map(gone, pids(folder)))


@pytest.mark.fault("Training", "a worker process fails each time it is started", "the task fails with that worker's own last error")
def test_the_task_fails_with_the_last_words_of_the_worker_that_died(folder):
    with pytest.raises(MachineError, match=r"worker 1 of 2 ended with status 1: ValueError: the card 1 fell out; the workers were started 2 times"):
        run("always_lost", folder)
    assert len(list(folder.iterdir())) == 4


def test_an_error_raised_on_purpose_is_raised_here_and_nothing_starts_again(folder):
    with pytest.raises(DataError, match=r"^the label is null; label it$"):
        run("refuses", folder, restarts=5)
    assert sorted(path.name for path in folder.iterdir()) == ["0-0", "1-0"]
    assert all(map(gone, pids(folder)))


@pytest.mark.fault("Training", "the task that started worker processes gets SIGTERM or SIGKILL", "no worker is left over")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_task(folder, number):
    code = f"from intermodal.workers.processes import run_processes\nrun_processes('work_of_workers:waits', {{'folder': {str(folder)!r}}}, 2, 3)"
    source = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ["PYTHONPATH"]])}
    task = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        wait_until(lambda: len(pids(folder)) == 2)
        task.send_signal(number)
        assert task.wait(20) == (143 if number == signal.SIGTERM else -number)
        wait_until(lambda: all(map(gone, pids(folder))))
    finally:
        task.kill()
    # SIGTERM reaches the workers, which may write a last checkpoint.
    assert len(list(folder.glob("ended-*"))) == (2 if number == signal.SIGTERM else 0)
