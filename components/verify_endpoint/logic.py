"""Whether a deployed service gives the probabilities that the evaluation saw."""

import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.components.verify_endpoint.authorization import authorization
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import DeploymentError
from intermodal.serving.endpoint import endpoint
from intermodal.serving.smoke_test import SmokeTest, post_json

_PAUSE = 2.0


def verify_endpoint(
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
    smoke = SmokeTest.read(evaluation_path, model_path, serving.get("tolerance"))
    version = str(read_json(Path(registration_path) / "registration.json")["version"])
    deadline = time.monotonic() + float(serving.get("timeout") or 120)
    while True:
        try:
            exchange = smoke.run_v1(service_name, lambda body: post_json(url, body, headers))
            break
        except DeploymentError as error:
            if _final(error) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)
    described = endpoint(name=service_name, url=url, version=version, protocols={"v1": url}, exchange=exchange, google_token=bool(headers))
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", described)


def _final(error: DeploymentError) -> bool:
    cause = error.__cause__
    return isinstance(cause, urllib.error.HTTPError) and cause.code < 500 and cause.code not in (404, 408, 429)
