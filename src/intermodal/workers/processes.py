"""Workers as processes of this machine, where no launcher started any elsewhere."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from intermodal.runtime import errors
from intermodal.runtime.errors import IntermodalError, MachineError
from intermodal.workers.words import LastWords

_HOST: Final = "127.0.0.1"
_POLL_SECONDS: Final = 0.05
#: How long the workers may take to end when they are asked to: to write a last checkpoint.
_GRACE_SECONDS: Final = 30.0
#: How long after a worker has died the others may end by themselves, and say why.
_SETTLE_SECONDS: Final = 1.0
_STOPPED: Final = 128 + signal.SIGTERM
#: TensorFlow's information and warnings: no last words.
_INFORMATION: Final = re.compile(r"[IW]\d{4} \d\d:\d\d|WARNING: All log messages")
#: What the others say when one is lost: not the cause.
_CONSEQUENCE: Final = re.compile(
    r"UnavailableError|Collective ops is aborted|heartbeat|Connection (reset|refused|closed)|CancelledError|is not responding|Gloo", re.I
)


def run_processes(function: str, arguments: dict[str, Any], workers: int, restarts: int, variables: Mapping[str, str] | None = None) -> Any:
    """Run a function in some worker processes, and return what it returned in the chief, as JSON.

    Each gets `TF_CONFIG` with ports of 127.0.0.1. The chief's output goes to standard output; the others' is kept for messages. When one dies, all
    are ended and started again. They end with this process, whatever ends that.

    Args:
        function: `module:name`.
        arguments: JSON.
        workers: How many processes.
        restarts: How often to start all again.
        variables: Of the environment, beside this process's.

    Raises:
        IntermodalError: What the function raised of these; nothing is started again then.
        MachineError: A worker died, and they have been started again as often as they may be.
        SystemExit: This process was asked to stop by SIGTERM; the workers have ended.
    """

    def environments() -> list[dict[str, str]]:
        addresses = [f"{_HOST}:{port}" for port in _free_ports(workers)]
        return [_environment(addresses, index) | dict(variables or {}) for index in range(workers)]

    with tempfile.TemporaryDirectory(prefix="workers-") as scratch, _stop_asked() as stop:
        for attempt in range(restarts + 1):
            folder = Path(scratch, str(attempt))
            folder.mkdir()
            died, value = _run(function, arguments, environments, folder, stop)
            if died is None:
                return value
            if attempt < restarts:
                sys.stdout.write(f"{died}; all {workers} start again (restart {attempt + 1} of {restarts})\n")
                sys.stdout.flush()
        raise MachineError(f"{died}; the workers were started {restarts + 1} times (`restarts` is {restarts}): correct the cause and run again")


def run_process(function: str, arguments: dict[str, Any], variables: Mapping[str, str]) -> Any:
    """Run a function in one process of its own, whose place among other workers is this process's, and return what it returned, as JSON.

    Args:
        function: `module:name`.
        arguments: JSON.
        variables: Of the environment, beside this process's.

    Raises:
        IntermodalError: What the function raised of these.
        MachineError: The process died.
        SystemExit: It stopped because it, this process or another worker was asked to by SIGTERM.
    """
    with tempfile.TemporaryDirectory(prefix="workers-") as scratch, _stop_asked() as stop:
        died, value = _run(function, arguments, lambda: [_inherited() | dict(variables)], Path(scratch), stop)
        if died is None:
            return value
        raise MachineError(f"{died}; correct the cause and run again")


def _run(
    function: str, arguments: dict[str, Any], environments: Callable[[], list[dict[str, str]]], folder: Path, stop: threading.Event
) -> tuple[str | None, Any]:
    """Run one attempt; return which worker died and why, or None and the chief's value."""
    group = _Group(function, arguments, environments(), folder)
    try:
        died = group.follow(stop)
    finally:
        group.end()
    if stop.is_set():
        raise SystemExit(_STOPPED)
    return died, None if died else group.value()


class _Group:
    """Worker processes of one attempt."""

    def __init__(self, function: str, arguments: dict[str, Any], environments: list[dict[str, str]], folder: Path) -> None:
        self._results = [folder / f"{index}.json" for index in range(len(environments))]
        self._logs = [folder / f"{index}.log" for index in range(len(environments))]
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for index, environment in enumerate(environments):
                with self._logs[index].open("wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-m", "intermodal.workers.replica"],
                        env=environment,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE if index == 0 else log,
                        stderr=subprocess.STDOUT,
                    )
                self._processes.append(process)
                call = {"function": function, "arguments": arguments, "result": str(self._results[index]), "parent": os.getpid()}
                assert process.stdin
                with process.stdin as given:
                    given.write(json.dumps(call).encode())
        except BaseException:
            self.end()
            raise
        self._reader = threading.Thread(target=self._stream, name="chief's output", daemon=True)
        self._reader.start()

    def follow(self, stop: threading.Event) -> str | None:
        """Wait until all have ended well, or one has died; return in words which, and why.

        Raises:
            IntermodalError: What one has raised.
        """
        while not stop.is_set():
            codes = [process.poll() for process in self._processes]
            if all(code == 0 for code in codes):
                return None
            if codes == [_STOPPED]:
                raise SystemExit(_STOPPED)
            if any(codes):  # neither None nor 0
                return self._last_words(codes)
            stop.wait(_POLL_SECONDS)
        return None

    def end(self) -> None:
        """End those that live: asked first, then killed."""
        living = [process for process in self._processes if process.poll() is None]
        for process in living:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in living:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if hasattr(self, "_reader"):
            self._reader.join(5)

    def value(self) -> Any:
        """Return what the function returned in the chief."""
        return json.loads(self._results[0].read_text(encoding="utf-8"))["value"]

    def _last_words(self, codes: list[int | None]) -> str:
        first = {index for index, code in enumerate(codes) if code}
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
            time.sleep(_POLL_SECONDS)
        self._raise_error()
        for process in self._processes:
            if process.poll() is None:
                process.kill()  # it waits for the dead one
        if self._processes[0].poll() is not None:
            self._reader.join(1)
        self._raise_error()
        dead = [index for index, process in enumerate(self._processes) if index in first or (process.returncode or 0) > 0]
        said = {index: self._said(index) for index in dead}
        # The one that was lost first, not one that lost it.
        index = min(dead, key=lambda each: (_rank(self._processes[each].returncode, said[each]), each not in first, each))
        code = self._processes[index].returncode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"worker {index} of {len(codes)} {how}" + (f": {said[index]}" if said[index] else "")

    def _raise_error(self) -> None:
        """Raise what a worker's function raised on purpose."""
        for result in self._results:
            if result.exists():
                content = json.loads(result.read_text(encoding="utf-8"))
                if "error" in content:
                    kind = getattr(errors, content["error"], IntermodalError)
                    raise (kind if isinstance(kind, type) and issubclass(kind, IntermodalError) else IntermodalError)(content["message"])

    def _said(self, index: int) -> str:
        """Return the last line of a worker's output that names an error; else its last line, if it ended by itself."""
        lines = self._logs[index].read_text(encoding="utf-8", errors="replace").splitlines()
        words = LastWords(line.strip() for line in lines if not _INFORMATION.match(line))
        killed = (self._processes[index].returncode or 0) < 0
        return (words.error if killed else words.sentence)[:500]

    def _stream(self) -> None:
        output = self._processes[0].stdout
        assert output
        with output, self._logs[0].open("ab") as kept:
            for line in output:
                kept.write(line)
                kept.flush()
                sys.stdout.write(line.decode("utf-8", "replace"))
                sys.stdout.flush()


def _rank(code: int | None, said: str) -> int:
    """Rank an ended worker by how likely it is the cause of the others' end: 0 killed, 1 an error of its own, 2 the loss of another."""
    if code is not None and code < 0:
        return 0
    return 2 if _CONSEQUENCE.search(said) else 1


def _environment(addresses: list[str], index: int) -> dict[str, str]:
    """Return a worker's environment: this process's, its place, and an equal share of the processors."""
    place = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    share = str(max(1, len(os.sched_getaffinity(0)) // len(addresses)))
    named = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")  # NPROC: XLA's
    threads = {name: os.environ.get(name, share) for name in named}
    return _inherited() | threads | {"TF_CONFIG": json.dumps(place)}


def _inherited() -> dict[str, str]:
    """Return this process's environment, in which a worker finds this package and reaches the others without a proxy."""
    direct = {name: ",".join(filter(None, [os.environ.get(name), _HOST])) for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy")}
    path = os.pathsep.join(dict.fromkeys([str(Path(__file__).parents[2]), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))
    return os.environ | direct | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((_HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Give what says whether this process got SIGTERM within the block, which does not end it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
