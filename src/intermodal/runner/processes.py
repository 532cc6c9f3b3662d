"""The processes of one run's tasks: started clean, and ended with the run."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from intermodal.runner import launcher

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

    Attributes:
        stopping: Whether `stop` was called; nothing is started any more.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._pipes: dict[int, None] = {}

    def run(self, command: list[str], *, variables: dict[str, str], scratch: Path, folder: Path, log: Path, stop_command: list[str]) -> int:
        """Run a command to its end.

        Args:
            command: Program and arguments.
            variables: Its whole environment.
            scratch: Removed when the run is stopped.
            folder: Its working directory.
            log: File its output is appended to.
            stop_command: Run before the command is ended early; empty: nothing.

        Returns:
            The exit status; 128 plus the signal for a killed process.
        """
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
        self._pipes[writing] = None
        if self.stopping:
            self._release(writing)
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if ended and ended.si_code != os.CLD_EXITED:
            # Killed from outside. Until it is waited for, no other process can get its number.
            launcher.end_session(process.pid, 0.0)
        code = process.wait()
        self._release(writing)
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """End all tasks and start none any more. Takes no lock: a signal handler may call it at any moment."""
        self.stopping = True
        for pipe in list(self._pipes):
            self._release(pipe)

    def _release(self, pipe: int) -> None:
        # dict.pop is atomic: of several callers exactly one closes the pipe.
        if self._pipes.pop(pipe, self) is None:
            os.close(pipe)

    def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the run is stopped."""
        deadline = time.monotonic() + seconds
        while not self.stopping and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
