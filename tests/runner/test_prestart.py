"""A task in a child of a process that was started ahead: as in a process of its own, and ended with its run."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from kfp import dsl

import intermodal
from intermodal.compiler.build import compile_specification
from intermodal.execution.prestart.program import program
from intermodal.execution.processes import Processes
from intermodal.runner.order import Order
from tests.runner.test_stopping import alive, kill, wait_for

PACKAGE = Path(intermodal.__file__).resolve().parent
PYTHON = Path(sys.executable)
SECRET = "STORE_ACCESS"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def write(before: str) -> str:
    """Return what came before."""
    return before


@pytest.fixture
def package(tmp_path):
    """The package as a task sees it, with a component `probe` that a test may fill."""
    folder = tmp_path / "code" / "intermodal"
    (folder / "components" / "probe").mkdir(parents=True)
    for name in ("__init__.py", "execution", "runtime"):
        (folder / name).symlink_to(PACKAGE / name)
    for name in ("components", "components/probe"):
        (folder / name / "__init__.py").write_text("")
    return folder


@pytest.fixture
def processes():
    made = Processes(own={SECRET})
    yield made
    made.stop()
    made.close()


class Task:
    """One run of a source text: what `run` gave, and where it was."""

    def __init__(self, tmp_path, source="return before"):
        self.scratch = tmp_path / f"task-{time.monotonic_ns()}"
        for name in ("work", "tmp"):
            (self.scratch / name).mkdir(parents=True)
        container = write.pipeline_spec.deployment_spec["executors"]["exec-write"]["container"]
        result = self.scratch / "Output"
        outputs = {"parameters": {"Output": {"outputFile": str(result)}}, "outputFile": str(self.scratch / "output.json")}
        given = json.dumps({"inputs": {"parameterValues": {"before": "a"}}, "outputs": outputs})
        self.command = [given if part == "{{$}}" else part for part in [*container["command"], *container["args"]]]
        self.command[3] = "def write(before: str) -> str:\n" + textwrap.indent(textwrap.dedent(source), "    ")
        path = os.pathsep.join([str(PYTHON.parent), os.environ["PATH"]])
        self.variables = {"PATH": path, "PYTHONPATH": str(tmp_path / "code"), "_KFP_RUNTIME": "true", "TMPDIR": str(self.scratch / "tmp")}
        self.variables |= {"PYTHONUNBUFFERED": "1", "HOME": str(tmp_path)}

    def run(self, processes, python=PYTHON):
        places = {"scratch": self.scratch, "folder": self.scratch / "work", "log": self.scratch / "log.txt"}
        self.status = processes.run(self.command, variables=self.variables, **places, stop_command=[], python=python)
        return self

    @property
    def log(self):
        return (self.scratch / "log.txt").read_text()

    @property
    def said(self):
        return json.loads((self.scratch / "output.json").read_text())["parameterValues"]["Output"]


def prestarted(processes):
    return [each._process.pid for each in processes._pool._everyone if each._process]


STATE = """
import json, os, signal, sys, tempfile, threading
main = sys.modules["__main__"]
files = sorted(os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}"))
return json.dumps({
    "arguments": sys.argv[0],
    "main": [main.__name__, main.__spec__.name, main.__file__],
    "path": sys.path[1:],
    "folder": [os.getcwd() == os.path.realpath(os.environ["TMPDIR"] + "/../work"), sys.path[1] == os.getcwd(), os.listdir()],
    "temporary": tempfile.gettempdir() == os.environ["TMPDIR"],
    "environment": sorted(set(os.environ) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"}),
    "files": [each for each in files if not each.startswith("/proc/") and not each.startswith("/tmp/") and "/log.txt" not in each],
    "signals": [str(signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)],
    "threads": [threading.active_count(), threading.current_thread() is threading.main_thread()],
    "leads a session": os.getpid() == os.getsid(0),
    "ours": [each for each in sys.modules if each.startswith("intermodal.components")],
})
"""


def test_a_task_finds_what_it_finds_in_a_process_of_its_own(tmp_path, package, processes):
    own, child = Task(tmp_path, STATE).run(processes, None), Task(tmp_path, STATE).run(processes)
    assert (own.status, child.status) == (0, 0), child.log
    assert prestarted(processes)
    there, here = json.loads(own.said), json.loads(child.said)
    for state, task in ((there, own), (here, child)):
        state["path"] = [each.replace(str(task.scratch), "") for each in state["path"]]
    assert here == there


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('boom')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("import os; os._exit(0)", 0),
        ("import os, atexit; atexit.register(os.write, 1, b'at its exit'); return 'a'", 0),
    ],
)
def test_how_a_task_ends_is_reported_as_of_a_process_of_its_own(tmp_path, package, processes, source, status):
    own, child = Task(tmp_path, source).run(processes, None), Task(tmp_path, source).run(processes)
    assert (own.status, child.status) == (status, status)
    assert prestarted(processes)

    def last(task):
        return task.log.strip().splitlines()[-1].partition("INFO]:")[2] or task.log.strip().splitlines()[-1]

    if "INFO" not in child.log.strip().splitlines()[-1]:
        assert last(child) == last(own)
    assert "server.py" not in child.log


def test_no_task_sees_what_another_has_done_and_a_secret_is_in_none_but_its_own(tmp_path, package, processes):
    first = Task(tmp_path, "import os, sys; sys.leak = os.environ['LEAK'] = 'x'; return os.environ['STORE_ACCESS']")
    first.variables[SECRET] = "canary"
    assert first.run(processes).said == "canary"
    (pid,) = prestarted(processes)
    assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
    second = Task(tmp_path, "import os, sys; return f\"{hasattr(sys, 'leak')} {'LEAK' in os.environ} {'STORE_ACCESS' in os.environ}\"").run(processes)
    assert second.said == "False False False"
    assert prestarted(processes) == [pid]


PROBE = "from intermodal.components.probe import logic; return logic.answer()"


def test_what_tasks_import_is_imported_once_and_changed_code_gets_a_process_of_its_own(tmp_path, package, processes):
    logic = package / "components" / "probe" / "logic.py"
    logic.write_text("import os\nIMPORTED_BY = os.getpid()\ndef answer(): return f'{IMPORTED_BY == os.getppid()} {IMPORTED_BY == os.getpid()}'\n")
    source = "from intermodal.components.probe.logic import answer, IMPORTED_BY; return str(IMPORTED_BY)"
    first, second = Task(tmp_path, source).run(processes), Task(tmp_path, source).run(processes)
    assert [first.said, second.said] == [str(prestarted(processes)[0])] * 2
    logic.write_text("def answer(): return 'changed'\nIMPORTED_BY = 'another'\n")
    assert Task(tmp_path, source).run(processes).said == "another"


@pytest.mark.parametrize(
    "logic",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\ndef answer(): return 'yes'\n",
        "import os, sys\nif sys.argv[0].endswith('server.py'): os._exit(5)\ndef answer(): return 'yes'\n",
    ],
    ids=["a thread", "an end of the process"],
)
def test_imports_that_no_child_could_inherit_leave_the_task_a_process_of_its_own(tmp_path, package, processes, logic):
    (package / "components" / "probe" / "logic.py").write_text(logic)
    task = Task(tmp_path, "from intermodal.components.probe.logic import answer; return answer()").run(processes)
    assert task.status == 0, task.log
    assert task.said == "yes"


def test_an_import_that_fails_says_so_in_the_task_s_log(tmp_path, package, processes):
    (package / "components" / "probe" / "logic.py").write_text("raise OSError('no such device here')\n")
    task = Task(tmp_path, "from intermodal.components.probe.logic import answer; return answer()").run(processes)
    assert task.status == 1
    assert task.log.strip().splitlines()[-1] == "OSError: no such device here"


def test_numbers_drawn_without_a_seed_differ_from_task_to_task(tmp_path, package, processes):
    pytest.importorskip("numpy")
    logic = "import random\nimport numpy\ndef answer(): return f'{random.random()} {numpy.random.rand()}'\n"
    (package / "components" / "probe" / "logic.py").write_text(logic)
    source = "from intermodal.components.probe.logic import answer; return answer()"
    first, second = (Task(tmp_path, source).run(processes).said.split() for _ in range(2))
    assert not set(first) & set(second)


def test_what_is_prepared_is_there_when_its_task_comes(tmp_path, package, processes):
    (package / "components" / "probe" / "logic.py").write_text("import time\nAT = time.monotonic()\ndef answer(): return str(AT)\n")
    task = Task(tmp_path, "from intermodal.components.probe.logic import answer; return answer()")
    processes.prepare(task.command, python=PYTHON, variables=task.variables)
    wait_for(lambda: prestarted(processes))
    wait_for(lambda: processes._pool._importing == 0)
    before = time.monotonic()
    assert float(task.run(processes).said) < before


def test_a_killed_process_leaves_its_running_task_alone_and_the_next_gets_one_of_its_own(tmp_path, package, processes):
    running = Task(tmp_path, "import os, time; open('started', 'w').close(); time.sleep(1); return 'whole'")
    thread = threading.Thread(target=running.run, args=(processes,))
    thread.start()
    wait_for((running.scratch / "work" / "started").exists)
    kill(*prestarted(processes))
    thread.join()
    assert (running.status, running.said) == (0, "whole")
    assert Task(tmp_path).run(processes).said == "a"


RUNNER = """
import sys, threading
from pathlib import Path
sys.path.insert(0, {root!r})
from intermodal.execution.processes import Processes
from tests.runner.test_prestart import Task, SOURCES

folder, processes = Path(sys.argv[1]), Processes()
while True:
    task = Task(folder, SOURCES[sys.argv[2]])
    task.variables["MARK"] = str(folder)
    processes.prepare(task.command, python=Path(sys.executable), variables=task.variables)
    task.run(processes)
"""
BUSY = """
import os, signal, subprocess, sys, time
here = os.environ["HOME"]
subprocess.Popen(["sleep", "600"], process_group=0)
subprocess.Popen([sys.executable, "-S", "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
subprocess.Popen(["sleep", "7"], start_new_session=True)
with open(here + "/pids.tmp", "w") as file:
    file.write(f"{os.getpid()} {os.getppid()}")
os.rename(here + "/pids.tmp", here + "/pids")
time.sleep(600 if os.getpid() % 2 else 0.2)
return "a"
"""
SOURCES = {"busy": BUSY, "importing": PROBE}


def marked(folder):
    """The living processes of a runner and of its tasks, but for those that are meant to stay."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (each / "environ").read_bytes() and alive(each.name) and (each / "cmdline").read_bytes() != b"sleep\x007\x00":
                found.append(int(each.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.fault(
    "Local runs",
    "SIGKILL of the runner, of a process that was started ahead, of a task's launcher, or of several, at random times",
    "no process of a task goes on, but a server that it detached with setsid",
)
@pytest.mark.parametrize("victims", ["runner", "launcher runner", "prestarted runner", "prestarted launcher runner", "launcher prestarted runner"])
def test_whoever_is_killed_no_task_goes_on(tmp_path, package, fault_random, victims):
    (tmp_path / "runner.py").write_text(RUNNER.format(root=str(Path(__file__).resolve().parents[2])))
    runner = subprocess.Popen([sys.executable, str(tmp_path / "runner.py"), str(tmp_path), "busy"], env=os.environ | {"MARK": str(tmp_path)})
    try:
        wait_for((tmp_path / "pids").exists, 60.0)
        time.sleep(fault_random.uniform(0, 0.3))
        _, launcher = map(int, (tmp_path / "pids").read_text().split())
        children = Path(f"/proc/{runner.pid}/task").glob("*/children")
        ahead = [int(pid) for file in children for pid in file.read_text().split()]
        pids = {"runner": [runner.pid], "launcher": [launcher], "prestarted": ahead}
        for victim in victims.split():
            kill(*pids[victim])
        runner.wait(30)
        wait_for(lambda: not marked(tmp_path), 20.0)
    finally:
        runner.kill()
        runner.wait()
        left = marked(tmp_path)
        kill(*left)
        assert not left


def test_a_process_that_is_importing_ends_with_its_runner(tmp_path, package):
    (package / "components" / "probe" / "logic.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "runner.py").write_text(RUNNER.format(root=str(Path(__file__).resolve().parents[2])))
    runner = subprocess.Popen([sys.executable, str(tmp_path / "runner.py"), str(tmp_path), "importing"], env=os.environ | {"MARK": str(tmp_path)})
    wait_for(lambda: len(marked(tmp_path)) >= 2, 60.0)
    time.sleep(0.5)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    wait_for(lambda: not marked(tmp_path), 5.0)


def test_a_stop_ends_the_task_and_what_it_started(tmp_path, package, processes):
    task = Task(tmp_path, BUSY.replace("600 if os.getpid() % 2 else 0.2", "600"))
    thread = threading.Thread(target=task.run, args=(processes,))
    thread.start()
    wait_for((tmp_path / "pids").exists, 60.0)
    processes.stop()
    thread.join(20)
    assert task.status == 130
    assert not task.scratch.exists()
    wait_for(lambda: not marked(tmp_path / "code"), 5.0)
    assert Task(tmp_path).run(processes).status == 130, "nothing is started any more"


def component(name, cached=True):
    @dsl.component(base_image=f"registry/{name}", install_kfp_package=False)
    def work(before: str = "") -> str:
        return before

    return lambda **inputs: work(**inputs).set_display_name(name).set_caching_options(cached)


def test_uncached_tasks_are_expected_at_once_and_the_others_when_what_they_follow_starts():
    @dsl.pipeline(name="ordered")
    def ordered(really: bool = True):
        first = component("first")()
        second = component("second")(before=first.output)
        component("last", cached=False)(before=component("third", cached=False)(before=second.output).output)
        with dsl.If(really == True):  # noqa: E712
            component("inner")(before=second.output)

    specification, expected = compile_specification(ordered), []
    order = Order(specification, lambda image, command, variables, **how: expected.append((image.removeprefix("registry/"), *how.values())))
    order.begin()
    assert expected == [("third", False, False), ("last", False, False)]
    expected.clear()
    tasks = {task["taskInfo"]["name"]: task for task in specification["root"]["dag"]["tasks"].values()}
    assert order.started(tasks["first"]), "a task that the cache might have answered runs: now all is imported ahead"
    assert expected == [("third", False, True), ("last", False, True), ("second", True, True)]
    expected.clear()
    order.started(tasks["second"])
    assert sorted(expected) == [("inner", True, True), ("third", True, True)]


def test_while_the_cache_answers_all_that_it_may_nothing_heavy_is_imported_ahead():
    @dsl.pipeline(name="ordered")
    def ordered():
        first = component("first", cached=False)()
        component("last", cached=False)(before=component("second")(before=first.output).output)

    specification, expected = compile_specification(ordered), []
    order = Order(specification, lambda image, command, variables, **how: expected.append((image.removeprefix("registry/"), *how.values())))
    order.begin()
    assert not order.started(specification["root"]["dag"]["tasks"]["work"])
    assert expected == [("first", False, False), ("last", False, False)]
    without_cache = Order(specification, lambda *command, **how: expected.append(tuple(how.values())), cached=False)
    without_cache.begin()
    assert expected[2:] == [(False, True)] * 2


def test_only_kfp_s_own_executor_is_recognised(tmp_path):
    command = Task(tmp_path).command
    assert program(command).arguments[0] == "--executor_input"
    for other in ([*command[:2], command[2] + "; true", *command[3:]], ["bash", *command[1:]], ["sh", "-c", "true"], ["python3", "-c", "pass"], []):
        assert program(other) is None
    assert program([*command[:3], "def (", *command[4:]]).modules == (), "the executor says what is wrong with it"
