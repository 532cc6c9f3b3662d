"""Serve a model on this machine, and replace what served before only by what answers right."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import ConfigurationError, DeploymentError
from intermodal.runtime.tree import is_whole, tree_hash
from intermodal.serving.endpoint import endpoint, open_inference
from intermodal.serving.records import Deployment, alone, deployment, end_process, forget, start_time
from intermodal.serving.server import HOST, Candidate, borrowed_socket, public_socket
from intermodal.serving.smoke_test import TOLERANCE, SmokeTest, post_json

_DEFAULTS: Final = {"port": 8080, "timeout": 60.0, "tolerance": TOLERANCE}
_LOGS_KEPT: Final = 5


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

    The new server listens on the same public socket as the old one before that one is ended, so that no connection is lost. A model that is
    served already, and answers right, is left to serve.

    Args:
        model_path: The SavedModel; a copy of it is served.
        evaluation_path: Holds `smoke.json`.
        registration_path: Holds `registration.json`.
        deployments: Where the records are kept.
        service_name: The deployment's name.
        serving: `port`, `timeout` and `tolerance`; see the contract.
        deployment_path: Where `deployment.json` goes.

    Raises:
        ConfigurationError: The port is taken by something else, or the name is none.
        DataError: An input cannot be read.
        DeploymentError: The new server does not start or answers wrong; what served before still does.
    """
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", service_name):
        raise ConfigurationError(f"service_name {service_name!r}: use lowercase letters, digits and hyphens")
    settings = _DEFAULTS | {key: value for key, value in serving.items() if key in _DEFAULTS and value is not None}
    smoke = SmokeTest.read(evaluation_path, model_path, float(settings["tolerance"]))
    version = str(read_json(Path(registration_path) / "registration.json")["version"])
    service = Service(Path(deployments).resolve(), service_name, Path(model_path), version, smoke, settings)
    with alone(service.home, service_name):
        before = settle(service.home, service_name)
        kept = service.keep(before) if before else None
        serves, exchange = kept or service.start(before)
    described = endpoint(
        name=serves.name, url=serves.url, version=serves.version, protocols=open_inference(serves.url, serves.name), exchange=exchange
    )
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", described)


class Service:
    """A model on its way to serve under a name."""

    def __init__(self, home: Path, name: str, model: Path, version: str, smoke: SmokeTest, settings: Mapping[str, Any]) -> None:
        """Name the model by its content."""
        self.home, self.name, self._model, self._version, self._smoke = home, name, model, version, smoke
        self._port, self._timeout = int(settings["port"]), float(settings["timeout"])
        self._digest = tree_hash(model)
        self._url = f"http://{HOST}:{self._port}"

    def keep(self, before: Deployment) -> tuple[Deployment, dict[str, Any]] | None:
        """Return the server that runs and its answer, if it serves this very model and answers right; else None."""
        if not before.alive or before.model_sha256 != self._digest or before.port != self._port:
            return None
        try:
            exchange = self._test(before.url)
        except DeploymentError:
            return None
        serves = replace(before, version=self._version)
        serves.save(self.home)
        return serves, exchange

    def start(self, before: Deployment | None) -> tuple[Deployment, dict[str, Any]]:
        """Start a server, let it take over from the one `before`, and return it with its answer."""
        folder = self.home / self.name
        moment = datetime.now(UTC)
        label = f"{moment:%Y%m%dT%H%M%S%f}"
        copy = folder / "models" / self._digest[:16]
        if not is_whole(copy):
            with whole_directory(copy) as scratch:
                shutil.copytree(self._model, scratch, dirs_exist_ok=True)
        old = before if before and before.alive else None
        control = folder / f"control-{label}"
        with public_socket(self._port, folder / old.control if old and old.port == self._port else None) as public:
            candidate = Candidate(name=self.name, model=copy, public=public, control=control, log=folder / f"{label}.log")
        started = start_time(candidate.pid) or 0
        try:
            candidate.wait_until_ready(self._timeout)
            self._test(candidate.url)
            serves = Deployment(
                name=self.name,
                url=self._url,
                version=self._version,
                pid=candidate.pid,
                started=started,
                port=self._port,
                model_sha256=self._digest,
                log=str(candidate.log),
                since=moment.isoformat(timespec="seconds"),
                control=control.name,
                predecessor=asdict(old) if old else None,
            )
            # Before it takes over: whoever finds this record later, however this ends, finds both servers.
            serves.save(self.home)
            candidate.serve()
        except BaseException:
            end_process(candidate.pid, started, patience=3)
            control.unlink(missing_ok=True)
            before.save(self.home) if before else forget(self.home, self.name)
            raise
        if old:
            end_process(old.pid, old.started)
        serves = replace(serves, predecessor=None)
        serves.save(self.home)
        _tidy(folder, copy, control)
        return serves, self._test(self._url)

    def _test(self, url: str) -> dict[str, Any]:
        return self._smoke.run(self.name, lambda path, body: post_json(f"{url}/{path}", body))


def settle(home: Path, name: str) -> Deployment | None:
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


def _tidy(folder: Path, copy: Path, control: Path) -> None:
    """Remove the models and sockets of ended servers, and all but the latest logs."""
    for model in (folder / "models").iterdir():
        if model != copy:
            shutil.rmtree(model, ignore_errors=True)
    for other in folder.glob("control-*"):
        if other != control:
            other.unlink(missing_ok=True)
    for log in sorted(folder.glob("*.log"))[:-_LOGS_KEPT]:
        for each in folder.glob(f"{log.name}*"):
            each.unlink(missing_ok=True)
