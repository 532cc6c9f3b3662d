"""A run that is interrupted, terminated, killed or out of disk leaves no process behind, and the next one goes on from what is finished."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from kfp import dsl
from intermodal.authoring.decorator import component
from intermodal.runner.local import LocalTarget
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

run = LocalTarget(folder / "home", console=Console(width=100), parallelism=2).run({"work": pipeline, "loop": loop}[sys.argv[2]],
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
    wait_for(lambda: all(file.exists() for file in files), 60.0)
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


RUNNER = """
import sys
from pathlib import Path
from intermodal.execution.processes import Processes

folder, processes = Path(sys.argv[1]), Processes()
for number in range(1000):
    scratch = folder / str(number)
    scratch.mkdir()
    processes.run([sys.executable, "-S", str(folder / "task.py")], variables={"MARK": str(folder)}, scratch=scratch, folder=scratch,
        log=folder / "log", stop_command=[])
"""
# A task with a child, a grandchild in a process group of its own whose parent has ended, one that at times takes no SIGTERM, and one
# detached on purpose.
TASK = """
import os, signal, time
if os.fork() == 0:
    os.setpgid(0, 0)
    if os.fork() == 0:
        if os.getpid() % 4 == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
if os.fork() == 0:
    time.sleep(600)
if os.fork() == 0:
    os.setsid()
    os.execv("/bin/sleep", ["sleep", "5"])
time.sleep(600 if os.getpid() % 2 else 0.05)
"""


def marked(mark):
    """The living processes with a mark in their environment, but for those that are meant to stay."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and alive(folder.name):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return {pid: command for pid, command in found.items() if command != b"sleep 5 "}


def children(pid):
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def kill(*pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.fault(
    "Local runs",
    "SIGKILL of the runner, of a task's launcher, or of both, at 30 random times during short tasks with grandchildren",
    "no process of a task goes on, but a server that it detached with setsid",
)
def test_whoever_is_killed_no_task_goes_on(tmp_path, fault_random):
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "runner.py").write_text(RUNNER)
    for attempt in range(30):
        folder = tmp_path / f"attempt-{attempt}"
        folder.mkdir()
        (folder / "task.py").symlink_to(tmp_path / "task.py")
        runner = subprocess.Popen([sys.executable, str(tmp_path / "runner.py"), str(folder)], env={"MARK": str(folder)})
        try:
            wait_for((folder / "0").exists)
            time.sleep(fault_random.uniform(0, 0.15))
            launchers = children(runner.pid)
            victims = fault_random.choice(["runner", "launcher", "launcher, runner", "runner, launcher", "launcher, later runner"])
            if victims.startswith("launcher"):
                kill(*launchers)
            if "later" in victims:
                time.sleep(fault_random.uniform(0, 0.01))
            if "runner" in victims:
                kill(runner.pid)
            if victims == "runner, launcher":
                kill(*launchers)
            if victims == "launcher":  # the run goes on with its next task: end it in the usual way
                time.sleep(fault_random.uniform(0, 0.05))
                kill(runner.pid)
            runner.wait()
            wait_for(partial(lambda mark: not marked(mark), str(folder).encode()), 12.0)
        finally:
            runner.kill()
            runner.wait()
            left = marked(str(folder).encode())
            kill(*left)
            assert not left, f"{victims} killed; left: {left}"
