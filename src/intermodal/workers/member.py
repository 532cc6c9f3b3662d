"""One worker of several, each on a machine of its own: `python -m intermodal.workers.member OPTIONS -- COMMAND`.

It fetches the task's inputs, waits until it knows where all workers listen, and runs the task's own command with its place among them. The chief,
worker 0, then uploads what the command wrote. Its standard output is the command's.

Variables that it reads: `JOB_COMPLETION_INDEX` (which worker it is; Kubernetes sets it), `INTERMODAL_ATTEMPT` (changes when all workers start
again) and `INTERMODAL_HOST` (its address). Variables that it sets for the command: `TF_CONFIG` and `INTERMODAL_CHECKPOINTS`. Where
`JAX_COORDINATOR_ADDRESS` is set, as Kubeflow Trainer's JAX runtime does, the place is known already.
"""

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.storage.fetching import fetch
from intermodal.storage.object_store import endpoint_here
from intermodal.workers.exchange import Exchange
from intermodal.workers.executor_input import Task, task_of
from intermodal.workers.meeting import Announced, Door, meet
from intermodal.workers.status_server import StatusServer
from intermodal.workers.words import LastWords, say

#: Status of a worker that fails in a way that another attempt would fail in too; the runtime then starts none (infra/kubernetes/workers.yaml).
LASTING: Final = 65
_TERMINATION_LOG: Final = Path("/dev/termination-log")
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True)
class Place:
    """One worker among its kind.

    Attributes:
        index: Which it is; 0 is the chief.
        workers: How many there are.
        attempt: Changes when all of them start again.
        host: The address where the others reach it.
    """

    index: int
    workers: int
    attempt: str
    host: str


def main(arguments: list[str]) -> int:
    """Run one worker; return its exit status."""
    options, task, command = _parse(arguments)
    variables = os.environ
    place = Place(
        int(variables["JOB_COMPLETION_INDEX"]),
        options.workers,
        variables.get("INTERMODAL_ATTEMPT", "0"),
        variables.get("INTERMODAL_HOST", "127.0.0.1"),
    )
    stopped = _Stopped()
    try:
        exchange = Exchange(options.exchange)
        _fetch_inputs(task)
        settings = {"INTERMODAL_CHECKPOINTS": options.checkpoints} if options.checkpoints else {}
        if "JAX_COORDINATOR_ADDRESS" not in variables:
            settings["TF_CONFIG"] = _meet(exchange, place, options.patience, stopped)
        words = LastWords()
        progress = StatusServer(variables if place.index == 0 else {})
        status = _run(command, dict(variables) | settings, [words.hear, progress.hear], stopped)
        progress.end()
        if status == 0 and place.index == 0:
            started, files = time.monotonic(), exchange.publish(task, place.attempt)
            say(f"outputs uploaded: {files} files in {time.monotonic() - started:.1f} s")
    except IntermodalError as error:
        sentence = f"{type(error).__name__}: {error}"
        _leave(f"worker {place.index}: {sentence}")
        return LASTING if isinstance(error, ConfigurationError) else 1
    return _judged(status, place, words, stopped)


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, Task, list[str]]:
    parser = argparse.ArgumentParser(prog="intermodal.workers.member")
    parser.add_argument("--exchange", required=True, help="URI of the folder that all workers share")
    parser.add_argument("--checkpoints", default="", help="URI of the folder for checkpoints")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--patience", type=float, required=True, help="seconds to wait for the others")
    cut = arguments.index("--")
    options, command = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    if (task := task_of(command)) is None:
        raise ConfigurationError(f"{command[:3]} has no --executor_input, so its inputs cannot be brought to other machines; set workers=1")
    return options, task, command


def _fetch_inputs(task: Task) -> None:
    for each in task.inputs:
        if not each.path.exists():
            started = time.monotonic()
            fetch(each.uri, each.path, endpoint_here())
            say(f"input {each.name} fetched in {time.monotonic() - started:.1f} s")
    for output in task.outputs:
        output.path.parent.mkdir(parents=True, exist_ok=True)


def _meet(exchange: Exchange, place: Place, seconds: float, stopped: "_Stopped") -> str:
    """Return `TF_CONFIG`, when all workers have said where they listen, and answer."""
    door = Door(place.host, lambda: stopped.asked)  # for the life of this process: another worker may look for this one when its command runs
    with socket.socket() as held:
        held.bind(("", 0))  # a free port, kept from others until the command takes it: pods on the host's network share them
        mine = Announced(place.host, int(held.getsockname()[1]), door.port, door.key)
        found = meet(exchange, place.attempt, place.index, mine, place.workers, seconds)
    say(f"worker {place.index} of {place.workers}, attempt {place.attempt}: {', '.join(found)}")
    return json.dumps({"cluster": {"worker": found}, "task": {"type": "worker", "index": place.index}})


class _Stopped:
    """SIGTERM: passed on to everything that the command started, which may take the pod's grace period to write a checkpoint."""

    def __init__(self) -> None:
        self.asked, self._group = False, 0
        signal.signal(signal.SIGTERM, self._stop)

    def follow(self, group: int) -> None:
        """Pass it on to a process group."""
        self._group = group
        if self.asked:
            self._pass_on()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if not self._group:
            sys.exit(128 + signal.SIGTERM)
        self._pass_on()

    def _pass_on(self) -> None:
        try:
            os.killpg(self._group, signal.SIGTERM)
        except ProcessLookupError:
            return


def _run(command: list[str], variables: Mapping[str, str], hearers: list[Callable[[str], None]], stopped: _Stopped) -> int:
    """Run a command to its end, and the end of all that it started; print what it says."""
    # kfp's command is a shell script: on SIGTERM the shell ends at once, and what it started becomes a child of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    stopped.follow(started.pid)
    assert started.stdout is not None
    for line in started.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        for hear in hearers:
            hear(line.decode(errors="replace"))
    status = started.wait()
    return status if status >= 0 else 128 - status


def _judged(status: int, place: Place, words: LastWords, stopped: _Stopped) -> int:
    """Return the status to end with, and leave in words why."""
    if stopped.asked:
        _leave(f"worker {place.index} was asked to end (SIGTERM)")
        return 128 + signal.SIGTERM
    if status == 0:
        return 0
    if status == 128 + signal.SIGKILL and (limit := _out_of_memory()) is not None:
        at = f" at its limit of {limit / 2**20:,.0f} MiB" if limit else ""
        remedy = "give the task a shape with more memory, or take a smaller batch_size or more workers"
        _leave(f"worker {place.index} ran out of memory{at} and was killed; {remedy}")
        return LASTING
    what = (
        f"was killed by {signal.Signals(status - 128).name}"
        if status > 128 and status - 128 in set(signal.Signals)
        else f"ended with status {status}"
    )
    _leave(f"worker {place.index} {what}: {words.sentence or 'it said nothing'}")
    return LASTING if words.lasting else status


def _out_of_memory() -> int | None:
    """Return the memory limit of this container if one of its processes was killed for it (0: not known), or None where none was."""
    for events, limit in (("memory.events", "memory.max"), ("memory/memory.oom_control", "memory/memory.limit_in_bytes")):
        try:
            found = dict(line.split() for line in Path("/sys/fs/cgroup", events).read_text(encoding="utf-8").splitlines())
            text = Path("/sys/fs/cgroup", limit).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if int(found.get("oom_kill", 0)):
            return int(text) if text.isdigit() else 0
    return None


def _leave(sentence: str) -> None:
    """Leave the last words where Kubernetes reads them: they outlive the pod's log."""
    say(sentence)
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(sentence[:4000], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
