"""Serve a model on this machine, and replace what served before only by what answers right."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.deployments import Deployment, deployment, end_process, start_time
from intermodal.errors import ConfigurationError, DeploymentError

_HOST = "127.0.0.1"
_DEFAULTS = {"port": 8080, "timeout": 60.0, "tolerance": 1e-4}


def serve_model(
    *,
    model_path: str,
    evaluation_path: str,
    registration_path: str,
    deployments: str,
    service_name: str,
    serving: Mapping[str, Any],
    deployment_path: str,
) -> None:
    """Start a server for a model, test it on a private port, give it the public one, and end the server it replaces.

    The new server listens on the same public socket as the old one before that one is ended, so that no connection is lost. The model that
    is served already is left to serve.

    Args:
        model_path: The SavedModel; a copy of it is served.
        evaluation_path: Holds `smoke.json`.
        registration_path: Holds `registration.json`.
        deployments: Where the records are kept.
        service_name: The deployment's name.
        serving: `port`, `timeout` and `tolerance`; see the contract.
        deployment_path: Where `deployment.json` goes.

    Raises:
        ConfigurationError: The port is taken by something else.
        DeploymentError: The new server does not start or answers wrong; what served before still does.
    """
    settings = _DEFAULTS | {key: value for key, value in serving.items() if key in _DEFAULTS and value is not None}
    settings["port"] = int(settings["port"])
    smoke = read_json(Path(evaluation_path) / "smoke.json")
    registration = read_json(Path(registration_path) / "registration.json")
    home = Path(deployments).resolve()
    with _alone(home / service_name):
        before = deployment(home, service_name)
        digest = str(registration["lineage"]["model_sha256"])
        serves = before if before and before.alive and before.model_sha256 == digest and before.port == settings["port"] else None
        if serves is None:
            serves = _replace(before, home, service_name, Path(model_path), digest, str(registration["version"]), smoke, settings)
        elif serves.version != str(registration["version"]):
            serves = Deployment(**{**serves.__dict__, "version": str(registration["version"])})
            serves.save(home)
        exchange = _smoke_test(serves.url, service_name, smoke, float(settings["tolerance"]))
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", _described(serves, exchange))


def _replace(
    before: Deployment | None,
    home: Path,
    name: str,
    model: Path,
    digest: str,
    version: str,
    smoke: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Deployment:
    folder = home / name
    copy = folder / "models" / digest[:16]
    if not copy.exists():
        with whole_directory(copy) as scratch:
            shutil.copytree(model, scratch, dirs_exist_ok=True)
    log = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{digest[:8]}.log"
    keeps = before if before and before.alive and before.port == settings["port"] else None
    with _public_socket(settings["port"], folder if keeps else None) as public, socket.socket() as private:
        private.bind((_HOST, 0))
        process = _start(copy, name, private, public, folder / f"control-{digest[:8]}-{os.getpid()}", log)
        started = start_time(process.pid) or 0
        try:
            _wait(process, f"http://{_HOST}:{private.getsockname()[1]}", name, float(settings["timeout"]), log)
            _smoke_test(f"http://{_HOST}:{private.getsockname()[1]}", name, smoke, float(settings["tolerance"]))
            process.send_signal(signal.SIGUSR1)
            url = f"http://{_HOST}:{settings['port']}"
            serves = Deployment(
                name, url, version, process.pid, started, settings["port"], digest, str(log), datetime.now(UTC).isoformat(timespec="seconds")
            )
            if keeps is None:
                _wait(process, url, name, 10.0, log)
            _link_control(folder, f"control-{digest[:8]}-{os.getpid()}")
            serves.save(home)
        except BaseException:
            end_process(process.pid, started, patience=2)
            raise
    if before and before.alive:
        end_process(before.pid, before.started)
    for old in (folder / "models").iterdir():
        if old != copy:
            shutil.rmtree(old, ignore_errors=True)
    return serves


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one deployment of a name happen at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _public_socket(port: int, predecessor: Path | None) -> Iterator[socket.socket]:
    """Give the socket clients connect to: the predecessor's own, or a new one."""
    if predecessor:
        inherited = _inherited(predecessor)
        if inherited:
            with inherited:
                yield inherited
            return
    with socket.socket() as public:
        public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            public.bind((_HOST, port))
            # A socket that only is bound would not keep another program from listening there meanwhile.
            public.listen()
        except OSError as error:
            raise ConfigurationError(f"port {port} of {_HOST}: {error.strerror} ({_holder(port)}); end it, or set serving.port to another") from error
        yield public


def _inherited(folder: Path) -> socket.socket | None:
    directory = os.open(folder, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(f"/proc/self/fd/{directory}/control")
            _, handles, _, _ = socket.recv_fds(control, 16, 1)
            return socket.socket(fileno=handles[0]) if handles else None
    except OSError:
        return None
    finally:
        os.close(directory)


def _link_control(folder: Path, name: str) -> None:
    """Make `control` mean the new server's socket, at one stroke."""
    scratch = folder / f".{name}"
    scratch.symlink_to(name)
    scratch.replace(folder / "control")


def _holder(port: int) -> str:
    """Say which process listens on a port, as far as /proc tells."""
    wanted = f":{port:04X}"
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
        if fields[1].endswith(wanted) and fields[3] == "0A"
    }
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]") in inodes:
                pid = descriptor.parts[2]
                return f"process {pid}, {Path(f'/proc/{pid}/comm').read_text().strip()}, listens there"
    return "another process listens there"


def _start(model: Path, name: str, private: socket.socket, public: socket.socket, control: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start the predictor in a session of its own: it is to outlive this task and whoever runs it."""
    arguments = ["--model_dir", str(model), "--model_name", name, "--http_port", str(public.getsockname()[1]), "--control", str(control)]
    handed = [private.fileno(), public.fileno()]
    command = [sys.executable, "-m", "intermodal.components.serve_model.predictor", *arguments]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--private_fd", str(handed[0]), "--public_fd", str(handed[1])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            # The task's own scratch folder goes with the task.
            env={key: value for key, value in os.environ.items() if key not in ("TMPDIR", "_KFP_RUNTIME")} | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            pass_fds=handed,
            start_new_session=True,
        )


def _wait(process: "subprocess.Popen[bytes]", url: str, name: str, timeout: float, log: Path) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DeploymentError(
                f"the server of {name} ended with status {process.returncode} before it answered; its log {log} ends:\n{_tail(log)}"
            )
        with contextlib.suppress(urllib.error.URLError, OSError):
            with urllib.request.urlopen(f"{url}/v2/models/{name}/ready", timeout=1) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.05)
    raise DeploymentError(
        f"the server of {name} did not answer within {timeout:g} s; raise serving.timeout, or see its log {log}, which ends:\n{_tail(log)}"
    )


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])


def _smoke_test(url: str, name: str, smoke: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """Ask for the rows whose probabilities are known, by both protocols; return the first one's exchange over V1."""
    first = _post(f"{url}/v1/models/{name}:predict", {"instances": smoke["instances"]})["predictions"]
    second = _post(f"{url}/v2/models/{name}/infer", _as_tensors(smoke["instances"]))["outputs"][0]["data"]
    for protocol, answers in (("V1", first), ("V2", second)):
        for row, (expected, answered) in enumerate(zip(smoke["probabilities"], answers, strict=True)):
            if not abs(answered - expected) <= tolerance:
                raise DeploymentError(
                    f"the server of {name} answers {answered} over {protocol} for row {row} of smoke.json, where {expected} is expected"
                )
    request = {"instances": smoke["instances"][-1:]}
    return {"request": request, "response": _post(f"{url}/v1/models/{name}:predict", request)}


def _as_tensors(instances: list[dict[str, Any]]) -> dict[str, Any]:
    inputs = []
    for column in instances[0]:
        values = [row[column] for row in instances]
        text = any(isinstance(value, str) for value in values)
        # V2 has no null: an absent text is empty, and a column with an absent number stays with V1.
        if not text and any(value is None for value in values):
            values = [float("nan") if value is None else value for value in values]
        filled = [("" if value is None else value) if text else float(value) for value in values]
        inputs.append({"name": column, "shape": [len(filled)], "datatype": "BYTES" if text else "FP64", "data": filled})
    return {"inputs": inputs}


def _post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise DeploymentError(f"{url}: HTTP {error.code}: {error.read(2000).decode(errors='replace')}") from error
    except (urllib.error.URLError, OSError) as error:
        raise DeploymentError(f"{url}: {error}") from error


def _described(serves: Deployment, exchange: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = f"{serves.url}/v1/models/{serves.name}:predict"
    body = json.dumps(exchange["request"])
    return {
        "name": serves.name,
        "url": serves.url,
        "version": serves.version,
        "protocols": {"v1": endpoint, "v2": f"{serves.url}/v2/models/{serves.name}/infer"},
        "request": exchange["request"],
        "response": exchange["response"],
        "command": f"curl -s {endpoint} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
    }
