"""The process that is started ahead for an image: it imports what the image's tasks import, and forks a child for each of them.

Run as a script by the image's Python, with two file descriptors: LIFE, the reading end of a pipe that only the runner holds open, and CONTROL, a
socket of whole messages. A message without descriptors is a JSON list of modules to import, each with whether what the functions of the project's
modules import is wanted too; it is answered by one byte when they are imported. One with two brings LIFE and CONTROL of a copy of this process, which
goes on from here: so the next tasks' modules are imported while this process still begins tasks. One with three brings a task's channel to the
runner, its log, and a file with the task as JSON. It is answered through the channel, by the launcher that is forked for the task: its process id,
then the task's status, a line each. Closing the channel without a word refuses the task, which then gets a process of its own.

Forking copies the calling thread alone, so a child is forked only where there is no other thread whose work could be cut in two. OpenBLAS and
DuckDB start some on import that have nothing to do: these are ended first, and both start them again when they need them. jemalloc, in PyArrow,
prepares its own thread for a fork by itself. With any other thread the process ends, and the tasks get processes of their own.
"""

import ast
import ctypes
import fcntl
import gc
import importlib
import json
import os
import re
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from intermodal.execution import launcher

_EXECUTOR = "kfp.dsl.executor_main"
_OURS = "intermodal."


class Server:
    """What is imported here, and how a task is made of it."""

    def __init__(self, life: int, control: socket.socket) -> None:
        self._life, self._control = life, control
        self._given = dict(os.environ)
        self._states: dict[str, tuple[int, int, int]] = {}
        self._followed: set[str] = set()
        self._children: list[int] = []
        self._pending: deque[tuple[str, bool]] = deque()

    def serve(self) -> None:
        """Answer messages until the runner closes the socket."""
        while True:
            self._children = [pid for pid in self._children if not os.waitpid(pid, os.WNOHANG)[0]]
            if self._pending and not select.select([self._control], [], [], 0)[0]:
                self._load(*self._pending.popleft())
                if not self._pending:
                    self._control.send(b".")
                continue
            message, descriptors, _, _ = socket.recv_fds(self._control, 65536, 3)
            if not message:
                return
            if len(descriptors) == 3:
                self._begin(*descriptors)
            elif descriptors:
                self._continue(*descriptors)
            else:
                self._pending.extend(json.loads(message))

    def _load(self, module: str, whole: bool) -> None:
        """Import a module and, for `whole`, what the project's modules that are here now import within their functions."""
        before = set(sys.modules)
        try:
            importlib.import_module(module)
        except BaseException:  # the task's own process will say what is wrong
            os._exit(1)
        for name in sorted(name for name in sys.modules.keys() - before if name.startswith(_OURS)):
            path = getattr(sys.modules[name], "__file__", None)
            if path:
                self._states[path] = _state(path)
        for path in sorted(self._states.keys() - self._followed) if whole else []:
            self._followed.add(path)
            for later in _imports_within_functions(path):
                with suppress(Exception):  # whoever needs it will say so
                    importlib.import_module(later)

    def _continue(self, life: int, control: int) -> None:
        """Fork a process that serves in the same way through another socket."""
        if not _may_fork():
            os._exit(0)
        pid = os.fork()
        if pid:
            self._children.append(pid)
            os.close(life)
            os.close(control)
            return
        os.setsid()
        self._control.close()
        os.close(self._life)
        end_with(life)
        self._life, self._control, self._children = life, socket.socket(fileno=control), []
        self._pending.clear()

    def _begin(self, channel: int, log: int, payload: int) -> None:
        """Fork the launcher of a task."""
        with open(payload, "rb") as file:
            task = json.load(file)
        for module, whole in task["modules"]:
            self._load(module, whole)
        if not _may_fork() or any(_state(path) != state for path, state in self._states.items()):
            os._exit(0)  # a thread that a child would lack, or code that has changed since it was imported
        gc.freeze()  # what is here already is for no child to look through again
        pid = os.fork()
        if pid:
            self._children.append(pid)
            os.close(channel)
            os.close(log)
            return
        os.setsid()
        self._control.close()
        os.close(self._life)
        # 0 is /dev/null already.
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.chdir(task["folder"])
        with suppress(OSError):
            os.write(channel, b"%d\n" % os.getpid())
        status = launcher.supervise(lambda parent: self._become(task, channel, parent), channel, task["scratch"], [])
        if status - 128 in signal.valid_signals() and status != launcher.STOPPED:
            os.write(1, f"{signal.strsignal(status - 128)}\n".encode())  # as a shell does
        with suppress(OSError):
            os.write(channel, b"%d\n" % status)
        os._exit(status)

    def _become(self, task: dict[str, Any], channel: int, parent: int) -> NoReturn:
        """Become a task, in the state in which a new process of its own would begin."""
        os.close(channel)
        if not launcher.follow(parent):
            os._exit(127)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._take_variables(task["variables"])
        tempfile.tempdir = None
        if numbers := sys.modules.get("numpy.random"):
            numbers.seed()  # else every task would draw the same; Python's own does so by itself
        sys.path.insert(0, str(Path.cwd()))
        program = Path(tempfile.mkdtemp(), "ephemeral_component.py")
        program.write_text(task["source"], encoding="utf-8")
        sys.argv = [_EXECUTOR, "--component_module_path", str(program), *task["arguments"]]
        try:
            runpy.run_module(_EXECUTOR, run_name="__main__", alter_sys=True)
        except Exception as error:
            error = error.with_traceback(_without_ours(error.__traceback__))
            sys.excepthook(type(error), error, error.__traceback__)
            sys.exit(1)
        sys.exit()

    def _take_variables(self, variables: dict[str, str]) -> None:
        """Replace the environment, but for what modules have put there as they were imported."""
        added = {key: value for key, value in os.environ.items() if key not in self._given}
        changed = {key: value for key, value in os.environ.items() if key in self._given and self._given[key] != value}
        removed = self._given.keys() - os.environ.keys()
        os.environ.clear()
        os.environ.update(added | {key: value for key, value in variables.items() if key not in removed} | changed)


def _state(path: str) -> tuple[int, int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _imports_within_functions(path: str) -> list[str]:
    """Return the modules of others that a file imports when one of its functions is called."""
    tree = ast.parse(Path(path).read_bytes())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [name for name in dict.fromkeys(names) if not name.startswith(_OURS)]


def _may_fork() -> bool:
    """Tell whether no other thread of this process has work of its own, after ending those that have none."""
    if _other_threads():
        with suppress(Exception):
            if duckdb := sys.modules.get("duckdb"):
                duckdb.default_connection().close()  # the next use opens another
        for library in set(re.findall(r"\S*openblas\S*", Path("/proc/self/maps").read_text())):
            with suppress(Exception):
                ctypes.CDLL(library).blas_thread_shutdown_()  # what its own handler of forks does; the next use starts them
    return not _other_threads()


def _other_threads() -> list[str]:
    names = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            name = (thread / "comm").read_text().strip()
            if int(thread.name) != os.getpid() and name != "jemalloc_bg_thd":
                names.append(name)
    return names


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that a process of the task's own would show."""
    while traceback and not traceback.tb_frame.f_code.co_filename.endswith("executor_main.py"):
        traceback = traceback.tb_next
    return traceback


def end_with(life: int) -> None:
    """Have the kernel end this process by SIGIO when the runner's end of a pipe closes, however that comes, and whatever is being imported then."""
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:
        os._exit(0)


def main() -> None:
    """Serve the runner, for as long as it lives."""
    del sys.path[0]  # this file's folder
    life, control = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(life, False)
    os.set_inheritable(control, False)
    end_with(life)
    Server(life, socket.socket(fileno=control)).serve()


if __name__ == "__main__":
    main()
