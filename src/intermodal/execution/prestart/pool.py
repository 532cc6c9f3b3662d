"""The prestarted processes of one run, as the runner sees them."""

import json
import os
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from intermodal.execution.prestart.program import Program

_EXECUTOR = "kfp.dsl.executor"
#: Modules by name, each with whether what its functions import is imported too.
Modules = frozenset[tuple[str, bool]]
_SERVER = Path(__file__).with_name("server.py")


class Prestarted:
    """One process that is started ahead, see `server`.

    Args:
        python: The image's Python.
        variables: The environment.
        before: Another process of the image to continue from, with all that it has imported. Default: a new process.

    Attributes:
        modules: What it has imported, or is importing.
        alive: Whether it takes tasks.
    """

    def __init__(self, python: Path, variables: Mapping[str, str], before: "Prestarted | None" = None) -> None:
        self.alive = True
        self.modules: Modules = before.modules if before else frozenset()
        life, self._life = os.pipe()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if before:
                self.alive = before._send(b"continue", [life, theirs.fileno()])
                return
            self._process = subprocess.Popen(
                [str(python), str(_SERVER), str(life), str(theirs.fileno())],
                pass_fds=(life, theirs.fileno()),
                env=dict(variables),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            os.close(life)
            theirs.close()

    def load(self, modules: Modules) -> bool:
        """Have it import modules, and wait until it has; return False when it is gone."""
        self.modules |= modules
        if self._send(json.dumps(sorted(modules)).encode(), []):
            with suppress(OSError):
                self.alive = bool(self._control.recv(1)) and self.alive
        return self.alive

    def begin(self, task: dict[str, Any], log: int) -> socket.socket | None:
        """Ask for a task; return the channel to its launcher, or None when this process takes no more tasks."""
        ours, theirs = socket.socketpair()
        with theirs, os.fdopen(os.memfd_create("task"), "wb") as payload:
            payload.write(json.dumps(task).encode())
            payload.flush()
            os.lseek(payload.fileno(), 0, os.SEEK_SET)
            if self._send(b"task", [theirs.fileno(), log, payload.fileno()]):
                return ours
        ours.close()
        return None

    def _send(self, message: bytes, descriptors: list[int]) -> bool:
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError:
            self.alive = False
        return self.alive

    def retire(self) -> None:
        """Let it end when it has begun the tasks that it was asked for."""
        self.alive = False
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it; tasks that it has begun go on. Takes no lock."""
        self.alive = False
        life, self._life = self._life, -1
        if life >= 0:
            os.close(life)

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self.kill()
        if self._process:
            self._process.wait()
        self._control.close()


class _Image:
    """The processes of one image: one that takes tasks, and at times one that continues from it and imports what comes next."""

    def __init__(self, python: Path, variables: Mapping[str, str], everyone: list[Prestarted]) -> None:
        self._python, self._variables, self._everyone = python, variables, everyone
        self._lock, self._importing = threading.Lock(), threading.Lock()
        self._now: Prestarted | None = None
        self._next: Prestarted | None = None

    def load(self, modules: Modules) -> None:
        """Import modules in a process that then takes the place of the present one."""
        with self._importing:
            with self._lock:
                now = self._now
                if now and (modules <= now.modules or not now.alive):
                    return
                later = self._next = self._made(now)
            if later.load(modules):
                with self._lock:
                    self._now, self._next = later, None
                if now:
                    now.retire()
            else:
                with self._lock:
                    self._next = None
                    self._now = self._now or later

    def begin(self, modules: Modules, task: dict[str, Any], log: int) -> socket.socket | None:
        """Have a task begun by the process that has its modules, or will have them first."""
        with self._lock:
            if self._now is None and self._next is None:
                self._now = self._made(None)
            now, later = self._now, self._next
            chosen = later if later and (now is None or not modules <= now.modules) else now
            return chosen.begin(task, log) if chosen and chosen.alive else None

    def _made(self, before: Prestarted | None) -> Prestarted:
        made = Prestarted(self._python, self._variables, before)
        self._everyone.append(made)
        return made


class Pool:
    """The prestarted processes of a run.

    Imports are made one after another while tasks run, and as many at a time as there are cores while none does, so that what is not needed yet
    does not slow what is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[Path, _Image] = {}
        self._everyone: list[Prestarted] = []
        self._wanted: deque[tuple[_Image, Modules]] = deque()
        self._importing = self._running = 0
        self._stopped = False

    def prepare(self, python: Path, variables: Mapping[str, str], program: Program, *, next_one: bool = False, whole: bool = True) -> None:
        """Have what a task imports be imported as soon as it is its turn; returns at once.

        Args:
            python: The image's Python.
            variables: The environment, without what is a task's own.
            program: What the task runs.
            next_one: Whether it comes before what was asked for earlier.
            whole: Whether what the functions of the project's modules import is imported too.
        """
        wanted = (self._image(python, variables), _modules(program, whole))
        with self._lock:
            if wanted in self._wanted:
                if not next_one:
                    return
                self._wanted.remove(wanted)
            (self._wanted.appendleft if next_one else self._wanted.append)(wanted)
        self._advance()

    def begin(
        self, python: Path, variables: Mapping[str, str], program: Program, task: dict[str, Any], log: int, *, whole: bool = True
    ) -> socket.socket | None:
        """Have a task begun in a child of its image's process; return the channel to its launcher, or None when no process takes it.

        Args:
            python: The image's Python.
            variables: The environment that the process is started with, if it is not there yet.
            program: What the task runs.
            task: Its `folder`, `scratch` and `variables`.
            log: File descriptor of its log.
            whole: See `prepare`; that much is imported before the task begins.
        """
        if self._stopped:
            return None
        modules = _modules(program, whole)
        details = {"source": program.source, "arguments": program.arguments, "modules": sorted(modules)}
        channel = self._image(python, variables).begin(modules, task | details, log)
        if self._stopped:
            self.stop()  # a signal came as the process was started
        if channel:
            with self._lock:
                self._running += 1
        return channel

    def ended(self) -> None:
        """Say that a task that was begun has ended."""
        with self._lock:
            self._running -= 1
        self._advance()

    def stop(self) -> None:
        """End all processes; tasks that they have begun go on. Takes no lock: a signal handler may call it at any time."""
        self._stopped = True
        for process in list(self._everyone):
            process.kill()

    def close(self) -> None:
        """End all processes, and wait until they are gone."""
        self.stop()
        for process in list(self._everyone):
            process.close()

    def _image(self, python: Path, variables: Mapping[str, str]) -> _Image:
        with self._lock:
            if python not in self._images:
                self._images[python] = _Image(python, variables, self._everyone)
            return self._images[python]

    def _advance(self) -> None:
        """Begin the imports whose turn it is."""
        while True:
            with self._lock:
                if not self._wanted or self._stopped or self._importing >= max(1, (os.cpu_count() or 1) - self._running):
                    return
                image, modules = self._wanted.popleft()
                self._importing += 1
            threading.Thread(target=self._import, args=(image, modules), daemon=True).start()

    def _import(self, image: _Image, modules: Modules) -> None:
        with suppress(OSError):
            image.load(modules)
        if self._stopped:
            self.stop()  # a signal came as the process was started
        with self._lock:
            self._importing -= 1
        self._advance()


def _modules(program: Program, whole: bool) -> Modules:
    return frozenset((name, each) for name in program.modules or [_EXECUTOR] for each in {False, whole})
