"""A run that is interrupted, terminated, killed or out of disk leaves no process behind, and the next one goes on from what is finished."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from kfp import dsl
from intermodal.component import component
from intermodal.targets.local import LocalTarget
from rich.console import Console

folder = Path(sys.argv[1])

@component(image="data")
def prepare(folder: str) -> str:
    return folder

@component(image="data")
def work(folder: str, item: str, seconds: float, half: dsl.Output[dsl.Dataset]) -> str:
    import os, subprocess, sys, time
    with open(half.path, "w") as file:
        file.write("half")
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleeper)
    grandchild = subprocess.Popen(["sh", "-c", "setsid -w sleep 0; sleep 600 & wait"], process_group=0)
    pids = [os.getpid(), os.getppid(), child.pid, grandchild.pid]
    with open(f"{folder}/pids-{item}.tmp", "w") as file:
        file.write(" ".join(map(str, pids)))
    os.rename(f"{folder}/pids-{item}.tmp", f"{folder}/pids-{item}")
    time.sleep(seconds)
    with open(half.path, "a") as file:
        file.write(" whole")
    return item

@dsl.pipeline(name="work")
def pipeline(folder: str, seconds: float):
    work(folder=prepare(folder=folder).output, item="single", seconds=seconds)

@dsl.pipeline(name="loop")
def loop(folder: str, seconds: float):
    with dsl.ParallelFor(["a", "b", "c"]) as item:
        work(folder=folder, item=item, seconds=seconds)

run = LocalTarget(folder / "home", console=Console(width=100)).run({"work": pipeline, "loop": loop}[sys.argv[2]],
    {"folder": str(folder), "seconds": float(sys.argv[3])})
print([(task.name, task.state) for task in run.tasks])
if sys.argv[2] == "work":
    print(Path(run.tasks[-1].outputs["half"]).read_text())
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    started = []

    def begin(shape, seconds=300.0):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path), shape, str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def pids(tmp_path, *items):
    files = [tmp_path / f"pids-{item}" for item in items]
    wait_for(lambda: all(file.exists() for file in files))
    found = [int(pid) for file in files for pid in file.read_text().split()]
    # What the shell of the test has started in its own process group belongs to the task too.
    for pid in list(found):
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    assert len(found) >= 4 * len(items)
    return set(found)


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, -signal.SIGINT, "interrupted"), (signal.SIGTERM, 128 + signal.SIGTERM, "terminated"), (signal.SIGKILL, -signal.SIGKILL, "")],
    ids=["ctrl-c", "sigterm", "sigkill"],
)
@pytest.mark.parametrize(("shape", "items"), [("work", ["single"]), ("loop", ["a", "b"])])
def test_no_process_is_left_behind(start, tmp_path, number, code, line, shape, items):
    runner = start(shape)
    working = pids(tmp_path, *items)
    runner.send_signal(number)
    said, _ = runner.communicate(timeout=30)
    # An uncaught KeyboardInterrupt ends a Python program by the signal itself.
    assert runner.returncode == code, said
    assert line in said
    wait_for(lambda: not any(map(alive, working)))
    assert not (tmp_path / "pids-c").exists(), "the loop's next task was not started"


def test_a_killed_run_goes_on_from_what_is_finished_and_takes_nothing_half_written(start, tmp_path):
    first = start("work")
    working = pids(tmp_path, "single")
    first.kill()
    first.wait()
    wait_for(lambda: not any(map(alive, working)))
    halves = list((tmp_path / "home" / "runs").glob("*/work/half"))
    assert [half.read_text() for half in halves] == ["half"]
    second = subprocess.run([sys.executable, str(tmp_path / "program.py"), str(tmp_path), "work", "0"], capture_output=True, text=True, check=False)
    assert "[('prepare', 'cached'), ('work', 'done')]" in second.stdout, second.stdout + second.stderr
    assert "half whole" in second.stdout
