"""The predictor as a process of this machine: its start, and how its port goes to a successor."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import intermodal
from intermodal.runtime.errors import ConfigurationError, DeploymentError
from intermodal.serving.json_http import ask

HOST: Final = "127.0.0.1"
_HANDOVER_SECONDS: Final = 15.0
#: Environment variables removed before the server is started: they are the task's, and the server outlives it.
_NOT_INHERITED: Final = ("TMPDIR", "_KFP_RUNTIME", "PYTHONDONTWRITEBYTECODE")


class Candidate:
    """A started server on a private port, which ends by itself unless `serve` is called, even if this process dies."""

    def __init__(self, *, name: str, model: Path, public: socket.socket, control: Path, log: Path) -> None:
        """Start it, in a session of its own, on the public socket (which it does not touch yet) and a private one."""
        self.name, self.log, self._control = name, log, control
        with socket.socket() as private:
            private.bind((HOST, 0))
            self.url = f"http://{HOST}:{private.getsockname()[1]}"
            arguments = ["--model_dir", str(model), "--model_name", name, "--control", str(control), "--log", str(log)]
            handed = {"--private_fd": private.fileno(), "--public_fd": public.fileno()}
            with log.open("ab") as output:  # until the server itself opens it
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "intermodal.serving.predictor",
                        *arguments,
                        *(text for pair in handed.items() for text in map(str, pair)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    cwd=log.parent,
                    env=_environment(),
                    pass_fds=list(handed.values()),
                    start_new_session=True,
                )
        self.pid = self._process.pid

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until the model answers on the private port.

        Raises:
            DeploymentError: It ended, or does not answer within `timeout` seconds; with the end of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check()
            with contextlib.suppress(DeploymentError):
                ask(f"{self.url}/v2/models/{self.name}/ready", seconds=2)
                return
            time.sleep(0.03)
        raise DeploymentError(f"the server of {self.name} did not answer within {timeout:g} s; raise timeout, or see {self.tail()}")

    def serve(self) -> None:
        """Have it accept on the public socket from now on; return once it does.

        Raises:
            DeploymentError: It ended or does not follow.
        """
        assert self._process.stdin
        deadline = time.monotonic() + _HANDOVER_SECONDS
        with contextlib.suppress(BrokenPipeError), self._process.stdin as control:
            control.write(b"serve")
        while (lent := borrowed_socket(self._control)) is None:
            self._check()
            if time.monotonic() > deadline:
                raise DeploymentError(f"the server of {self.name} does not take over the port; see {self.tail()}")
            time.sleep(0.03)
        lent.close()

    def tail(self) -> str:
        """Return where its log is, and its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return f"its log {self.log}, which ends:\n" + "\n".join(line[:400] for line in lines)

    def _check(self) -> None:
        if (status := self._process.poll()) is not None:
            raise DeploymentError(f"the server of {self.name} ended with status {status}; see {self.tail()}")


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    # Where this code was found, in full: the server's working directory is another.
    paths = [str(Path(intermodal.__file__).absolute().parent.parent), *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return kept | {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(Path(path).absolute()) for path in paths))}


@contextlib.contextmanager
def public_socket(port: int, control: Path | None) -> Iterator[socket.socket]:
    """Give the socket that clients connect to: the one of the server behind `control`, so that no connection is lost, or a new one.

    Raises:
        ConfigurationError: Something else has the port.
    """
    public = borrowed_socket(control) if control else None
    if public is None:
        public = socket.socket()
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            public.bind((HOST, port))
            # A socket that only is bound would not keep another program from listening there meanwhile.
            public.listen()
        except OSError as error:
            public.close()
            remedy = "end it, or set port to another (serving.local.port in a configuration)"
            raise ConfigurationError(f"port {port} of {HOST}: {error.strerror} ({_holder(port)}); {remedy}") from error
    with public:
        yield public


def borrowed_socket(control: Path) -> socket.socket | None:
    """Return the public socket of the server whose control socket this is; None when none answers there."""
    try:
        # Through /proc, for a Unix socket's own path may have 107 characters only.
        directory = os.open(control.parent, os.O_PATH)
    except FileNotFoundError:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            caller.connect(f"/proc/self/fd/{directory}/{control.name}")
            _, handles, _, _ = socket.recv_fds(caller, 16, 1)
            return socket.socket(fileno=handles[0]) if handles else None
    except OSError:
        return None
    finally:
        os.close(directory)


def _holder(port: int) -> str:
    """Say which process listens on a port, as far as /proc tells."""
    wanted = f":{port:04X}"
    inodes = {
        f"socket:[{fields[9]}]"
        for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        if table.exists()
        for fields in (line.split() for line in table.read_text().splitlines()[1:])
        if fields[1].endswith(wanted) and fields[3] == "0A"
    }
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in inodes:
                pid = descriptor.parts[2]
                return f"process {pid}, {Path(f'/proc/{pid}/comm').read_text().strip()}, listens there"
    return "another process listens there"
