"""Whether a deployed service gives the probabilities that the evaluation saw."""

import json
import shlex
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.components.ask_service.authorization import authorization
from intermodal.components.serve_model.smoke import answerable, compare, post
from intermodal.errors import DeploymentError

_PAUSE = 2.0


def ask_service(
    *,
    model_path: str,
    evaluation_path: str,
    registration_path: str,
    url: str,
    credentials: str,
    service_name: str,
    serving: Mapping[str, Any],
    deployment_path: str,
) -> None:
    """Ask until the answers are right or the time is up, and write `deployment.json`. See the contract for the arguments.

    A service that has just been given its traffic may answer late, or once more as before: both are asked again. A refusal is final.

    Raises:
        ConfigurationError: `credentials` is neither `google` nor `none`.
        DataError: An input cannot be read.
        StoreError: There are no credentials.
        DeploymentError: The service refuses, or does not answer right in time.
    """
    headers = authorization(credentials)
    inputs = read_json(Path(model_path) / "signature.json")["inputs"]
    smoke = read_json(Path(evaluation_path) / "smoke.json")
    version = str(read_json(Path(registration_path) / "registration.json")["version"])
    instances, expected, rows = answerable(smoke, inputs)
    deadline = time.monotonic() + float(serving.get("timeout") or 120)
    while True:
        try:
            compare(
                service_name,
                "V1",
                post(url, {"instances": instances}, headers).get("predictions"),
                expected,
                rows,
                float(serving.get("tolerance") or 1e-4),
            )
            break
        except DeploymentError as error:
            if _final(error) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)
    request = {"instances": instances[-1:]}
    response = {"predictions": post(url, request, headers)["predictions"]}
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", _record(service_name, url, version, request, response, authorized=bool(headers)))


def _final(error: DeploymentError) -> bool:
    cause = error.__cause__
    return isinstance(cause, urllib.error.HTTPError) and cause.code < 500 and cause.code not in (404, 408, 429)


def _record(name: str, url: str, version: str, request: dict[str, Any], response: dict[str, Any], *, authorized: bool) -> dict[str, Any]:
    token = '-H "Authorization: Bearer $(gcloud auth print-access-token)" ' if authorized else ""
    return {
        "name": name,
        "url": url,
        "version": version,
        "protocols": {"v1": url},
        "request": request,
        "response": response,
        "command": f"curl -s {url} {token}-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(request))}",
    }
