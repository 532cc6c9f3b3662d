"""Object stores on loopback: an S3 server (moto) and a Cloud Storage emulator, each a process of its own that ends with the block."""

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intermodal.execution.environments import environment
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
    program = environment("servers").parent / command[0]
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
