"""Whether a deployed endpoint gives the probabilities that the evaluation saw."""

import time
from typing import Any, Final

from intermodal.components.verify_endpoint.arguments import check_arguments
from intermodal.components.verify_endpoint.authorization import authorization
from intermodal.runtime.errors import DeploymentError
from intermodal.serving.endpoint import version_of, write_deployment
from intermodal.serving.json_http import RefusedError, ask
from intermodal.serving.smoke_test import SmokeTest

_PAUSE: Final = 2.0


def verify_endpoint(
    *,
    url: str,
    evaluation_path: str,
    model_path: str | None,
    registration_path: str | None,
    name: str,
    credentials: str,
    timeout: float,
    tolerance: float,
    version: str,
    deployment_path: str,
) -> dict[str, Any]:
    """Ask until the answers are right or the time is up, and write `deployment.json`. See the contract for the arguments.

    An endpoint that has just been given its traffic may answer late, or for a while as before: both are asked again. A refusal is final.

    Returns:
        The metadata of the deployment: `url`, `name`, `version`, `tested`.

    Raises:
        ConfigurationError: An argument is wrong.
        DataError: An input cannot be read.
        StoreError: There are no credentials.
        DeploymentError: The endpoint refuses, or does not answer right in time.
    """
    check_arguments(url=url, name=name, credentials=credentials, timeout=timeout, tolerance=tolerance)
    headers = authorization(credentials)
    smoke_test = SmokeTest.read(model_path, evaluation_path, tolerance)
    deadline = time.monotonic() + timeout
    while True:
        try:
            exchange = smoke_test.run_v1(name, lambda body: ask(url, body, headers))
            break
        except DeploymentError as error:
            if _final(error) or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE)
    version = version_of(registration_path, version)
    return write_deployment(
        deployment_path, name=name, url=url, version=version, protocols={"v1": url}, exchange=exchange, google_token=credentials == "google"
    )


def _final(error: DeploymentError) -> bool:
    return isinstance(error, RefusedError) and error.status < 500 and error.status not in (404, 408, 429)
