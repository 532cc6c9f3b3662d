"""Object stores on loopback: an S3 server (moto) and a Cloud Storage emulator, each a process of its own that ends with the block."""

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from intermodal.execution.environments import environment, environment_folder
from tests.ports import free_port


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Yield the URL of an S3 server; its log goes below `folder`. Any credentials are taken."""
    port = free_port()
    with _running(["moto_server", "-H", "127.0.0.1", "-p", str(port)], folder / "s3.log", port, "/moto-api/"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def gcs_server(folder: Path) -> Iterator[str]:
    """Yield the URL of a Cloud Storage emulator, to be put into STORAGE_EMULATOR_HOST; its log goes below `folder`."""
    port = free_port()
    with _running(["gcp-storage-emulator", "start", "--in-memory", "--host", "127.0.0.1", "--port", str(port)], folder / "gcs.log", port, "/"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], log: Path, port: int, path: str) -> Iterator[None]:
    program = environment_folder("servers") / "bin" / command[0]
    if not program.exists():  # in an image's environment there is no uv to make it: tests/run.py does
        environment("servers")
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTHON"))}
    with log.open("w") as file:
        server = subprocess.Popen([str(program), *command[1:]], stdout=file, stderr=file, env=variables, start_new_session=True)
    try:
        for _ in range(200):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


@contextmanager
def slow_uploads(url: str, seconds: float) -> Iterator[str]:
    """Yield the URL of a way to a server on which every upload starts so many seconds late."""
    host, _, port = url.removeprefix("http://").partition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, destination: socket.socket, late: float) -> None:
        with suppress(OSError):
            while content := source.recv(65_536):
                if content.startswith((b"PUT ", b"POST ")):
                    time.sleep(late)
                destination.sendall(content)
            destination.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                threading.Thread(target=carry, args=(client, server, seconds), daemon=True).start()
                threading.Thread(target=carry, args=(server, client, 0), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
