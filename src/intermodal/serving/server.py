"""The predictor as a process of this machine: its start, and how its port goes to a successor."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import intermodal
from intermodal.runtime.errors import ConfigurationError, DeploymentError
from intermodal.serving.json_http import ask
from intermodal.serving.records import Deployment, deployment, end_process

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
            arguments = ["--model_dir", str(model), "--model_name", name, "--control", str(control)]
            self._process = start_server("intermodal.serving.predictor", arguments, {"public": public, "private": private}, log)
        self.pid = self._process.pid

    def wait_until_ready(self, timeout: float) -> None:
        """Wait until the model answers on the private port.

        Raises:
            DeploymentError: It ended, or does not answer within `timeout` seconds; with the end of its log.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            self._check()
            if is_ready(self.url, self.name):
                return
            time.sleep(0.03)
        raise DeploymentError(f"the server of {self.name} did not answer within {timeout:g} s; raise timeout, or see {self.tail()}")

    def serve(self) -> None:
        """Have it accept on the public socket from now on; return once it does.

        Raises:
            DeploymentError: It ended or does not follow.
        """
        if not took_over(self._process, self._control):
            self._check()
            raise DeploymentError(f"the server of {self.name} does not take over the port; see {self.tail()}")

    def tail(self) -> str:
        """Return where its log is, and its last lines."""
        return last_lines(self.log)

    def _check(self) -> None:
        if (status := self._process.poll()) is not None:
            raise DeploymentError(f"the server of {self.name} ended with status {status}; see {self.tail()}")


def start_server(module: str, arguments: Sequence[str], sockets: Mapping[str, socket.socket], log: Path) -> "subprocess.Popen[bytes]":
    """Start a server in a session of its own, which ends by itself unless its standard input says `serve`, even if this process dies.

    Args:
        module: Its module.
        arguments: Its options.
        sockets: Those that it inherits: `public`, which it does not touch yet, and perhaps `private`.
        log: File for all that it prints.
    """
    handed = [word for name, each in sockets.items() for word in (f"--{name}_fd", str(each.fileno()))]
    with log.open("ab") as output:  # until the server itself opens it
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--log", str(log), *handed],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=_environment(),
            pass_fds=[each.fileno() for each in sockets.values()],
            start_new_session=True,
        )


def approve(process: "subprocess.Popen[bytes]") -> None:
    """Let a server that was started serve."""
    assert process.stdin
    with contextlib.suppress(BrokenPipeError), process.stdin as control:
        control.write(b"serve")


def took_over(process: "subprocess.Popen[bytes]", control: Path) -> bool:
    """Let a server serve, and say whether it accepts on the public socket, which it then lends at `control`; False: it ended, or is late."""
    approve(process)
    deadline = time.monotonic() + _HANDOVER_SECONDS
    while (lent := borrowed_socket(control)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    lent.close()
    return True


def is_ready(url: str, name: str) -> bool:
    """Say whether the model of a server answers."""
    try:
        ask(f"{url}/v2/models/{name}/ready", seconds=2)
    except DeploymentError:
        return False
    return True


def last_lines(log: Path) -> str:
    """Return where a server's log is, and its last lines."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:] if log.exists() else []
    return f"its log {log}, which ends:\n" + "\n".join(line[:400] for line in lines)


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


def finish_replacement(home: Path, name: str) -> Deployment | None:
    """Finish a replacement that was cut short, and return the record then."""
    found = deployment(home, name)
    if found is None or found.replaced is None:
        return found
    took_over = borrowed_socket(home / name / found.control) if found.alive else None
    stays, goes = (replace(found, predecessor=None), found.replaced) if took_over else (found.replaced, found)
    if took_over:
        took_over.close()
    end_process(goes.pid, goes.started)
    stays.save(home)
    return stays


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
