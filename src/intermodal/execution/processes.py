"""The processes of one run's tasks: started clean, and ended with the run."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from intermodal.execution import launcher
from intermodal.execution.prestart.pool import Pool
from intermodal.execution.prestart.program import Program, program

#: What a task sees of the runner's environment: who and where it is, how to reach the network, and credentials. Everything else reaches a
#: task through its inputs. Not among them on purpose: PYTHON*, which change how a program runs.
_NAMES = {
    "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "CUDA_VISIBLE_DEVICES", "KUBECONFIG", "LD_LIBRARY_PATH", "STORAGE_EMULATOR_HOST",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
}  # fmt: skip
_PREFIXES = ("LC_", "AWS_", "GOOGLE_", "AZURE_", "NVIDIA_", "CLOUDSDK_", "MLFLOW_")


def passed_on(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that a task may see."""
    return {key: value for key, value in variables.items() if key in _NAMES or key.startswith(_PREFIXES)}


class Processes:
    """Starts tasks, each under a launcher (see `launcher`), and ends them all when the run is stopped.

    Args:
        own: Names of variables that only a task gets, never a process that is started ahead: secrets, and what differs from task to task.

    Attributes:
        stopping: Whether `stop` was called; nothing is started any more.
    """

    def __init__(self, own: Iterable[str] = ()) -> None:
        self.stopping = False
        self._own = frozenset({"TMPDIR", *own})
        self._ends: dict[int, Callable[[], None]] = {}
        self._pool = Pool()

    def prepare(self, command: list[str], *, python: Path, variables: Mapping[str, str], next_one: bool = False, whole: bool = True) -> None:
        """Have a process started ahead import what a command will; returns at once, and does nothing for what is no lightweight component.

        Args:
            command: As `run` will get it; its arguments do not count.
            python: The Python of the task's image.
            variables: As `run` will get them.
            next_one: Whether it will run before what was prepared earlier.
            whole: Whether what the functions of the project's modules import is imported too, or only what these import themselves.
        """
        found = program(command)
        if found and not self.stopping:
            self._pool.prepare(python, self._shared(variables), found, next_one=next_one, whole=whole)

    def run(
        self,
        command: list[str],
        *,
        variables: dict[str, str],
        scratch: Path,
        folder: Path,
        log: Path,
        stop_command: list[str],
        python: Path | None = None,
        whole: bool = True,
    ) -> int:
        """Run a command to its end.

        Args:
            command: Program and arguments.
            variables: Its whole environment.
            scratch: Removed when the run is stopped.
            folder: Its working directory.
            log: File its output is appended to.
            stop_command: Run before the command is ended early; empty: nothing.
            python: The Python of its image: a lightweight component then runs in a child of the image's prestarted process. None: in a process of
                its own, as everything does that no such process takes.
            whole: See `prepare`; the prestarted process imports that much before the task begins.

        Returns:
            The exit status; 128 plus the signal for a killed process.
        """
        if self.stopping:
            return 130
        found = program(command) if python and not stop_command else None
        if python and found:
            status = self._run_prestarted(python, found, variables, scratch, folder, log, whole)
            if status is not None:
                return status
        return self._run_fresh(command, variables, scratch, folder, log, stop_command)

    def _run_fresh(self, command: list[str], variables: dict[str, str], scratch: Path, folder: Path, log: Path, stop_command: list[str]) -> int:
        if self.stopping:
            return 130
        reading, writing = os.pipe()
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", launcher.__file__, str(scratch), str(len(stop_command)), *stop_command, *command],
                    env=variables,
                    cwd=folder,
                    stdin=reading,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._hold(writing, partial(os.close, writing))
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if ended and ended.si_code != os.CLD_EXITED:
            # Killed from outside. Until it is waited for, no other process can get its number.
            launcher.end_session(process.pid, 0.0)
        code = process.wait()
        self._release(writing)
        return code if code >= 0 else 128 - code

    def _run_prestarted(
        self, python: Path, found: Program, variables: dict[str, str], scratch: Path, folder: Path, log: Path, whole: bool
    ) -> int | None:
        """Run a task in a child of its image's process; return None when that took it not."""
        task = {"variables": variables, "scratch": str(scratch), "folder": str(folder)}
        with log.open("ab") as output:
            channel = self._pool.begin(python, self._shared(variables), found, task, output.fileno(), whole=whole)
        if channel is None:
            return None
        number = channel.fileno()
        self._hold(number, partial(_end_of_file, channel))
        try:
            with channel, channel.makefile("rb") as answers:
                session, status = answers.readline(), answers.readline()
                self._ends.pop(number, None)
        finally:
            self._pool.ended()
        if not session:
            return None
        if not status:
            # The launcher was killed from outside. Its number stays its session's while anybody is in that.
            launcher.end_session(int(session), 0.0)
            return 128 + 9
        return int(status)

    def stop(self) -> None:
        """End all tasks and start none any more. Takes no lock: a signal handler may call it at any moment."""
        self.stopping = True
        self._pool.stop()
        for number in list(self._ends):
            self._release(number)

    def close(self) -> None:
        """End the processes that were started ahead, when the run has ended."""
        self._pool.close()

    def _shared(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in variables.items() if key not in self._own}

    def _hold(self, number: int, end: Callable[[], None]) -> None:
        self._ends[number] = end
        if self.stopping:
            self._release(number)

    def _release(self, number: int) -> None:
        # dict.pop is atomic: of several callers exactly one ends it.
        end = self._ends.pop(number, None)
        if end:
            end()

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))


def _end_of_file(channel: socket.socket) -> None:
    """Let the launcher read an end of file; its answer still comes."""
    try:
        channel.shutdown(socket.SHUT_WR)
    except OSError:
        return  # it is gone
