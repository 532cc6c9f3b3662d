"""A task's own command as a child of this process: its inputs fetched, its output heard, a SIGTERM passed on, and how it ended in words."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from intermodal.storage.fetching import fetch
from intermodal.storage.object_store import endpoint_here
from intermodal.workers.executor_input import Task
from intermodal.workers.words import LastWords, say

#: Status of a command that fails in a way that another attempt would fail in too; the runtime then starts none (infra/kubernetes/workers.yaml).
LASTING: Final = 65
_TERMINATION_LOG: Final = Path("/dev/termination-log")
_PR_SET_CHILD_SUBREAPER: Final = 36


def fetch_inputs(task: Task) -> None:
    """Bring a task's inputs to the paths where kfp has them, and make the folders of its outputs."""
    for each in task.inputs:
        if not each.path.exists():
            started = time.monotonic()
            fetch(each.uri, each.path, endpoint_here())
            say(f"input {each.name} fetched in {time.monotonic() - started:.1f} s")
    for output in task.outputs:
        output.path.parent.mkdir(parents=True, exist_ok=True)


class Stopped:
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


def run(command: list[str], variables: Mapping[str, str], hearers: list[Callable[[str], None]], stopped: Stopped) -> int:
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


def judged(status: int, who: str, words: LastWords, stopped: Stopped) -> tuple[int, str]:
    """Return the status to end with, and in words why; no words where all is well.

    Args:
        status: The command's.
        who: For the words: `worker 1`.
        words: What the command said last.
        stopped: Whether it was asked to end.
    """
    if stopped.asked:
        return 128 + signal.SIGTERM, f"{who} was asked to end (SIGTERM)"
    if status == 0:
        return 0, ""
    if status == 128 + signal.SIGKILL and (limit := _out_of_memory()) is not None:
        at = f" at its limit of {limit / 2**20:,.0f} MiB" if limit else ""
        remedy = "give the task a shape with more memory, or take a smaller batch_size or more workers"
        return LASTING, f"{who} ran out of memory{at} and was killed; {remedy}"
    what = (
        f"was killed by {signal.Signals(status - 128).name}"
        if status > 128 and status - 128 in set(signal.Signals)
        else f"ended with status {status}"
    )
    return LASTING if words.lasting else status, f"{who} {what}: {words.sentence or 'it said nothing'}"


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


def leave(sentence: str) -> None:
    """Leave the last words where Kubernetes reads them: they outlive the pod's log."""
    say(sentence)
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(sentence[:4000], encoding="utf-8")
