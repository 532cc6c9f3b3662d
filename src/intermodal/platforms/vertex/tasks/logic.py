"""What the tasks of the deploy step do; runs in the image `serve`."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from intermodal.components.verify_endpoint.authorization import authorization
from intermodal.components.verify_endpoint.logic import verify_endpoint
from intermodal.runtime.errors import ConfigurationError, DeploymentError, IntermodalError, StoreError
from intermodal.serving.endpoint import version_of
from intermodal.serving.json_http import ask

_ATTEMPTS: Final = 4
#: How long to wait for the service to take a model off, and between two questions.
_PATIENCE: Final = 600.0
_PAUSE: Final = 5.0


class Endpoint(NamedTuple):
    """What an endpoint runs; see the contract."""

    models: list[str]
    traffic: dict[str, int]


class Upload(NamedTuple):
    """How a model is uploaded; see the contract."""

    uri: str
    labels: dict[str, str]
    parent_model: str
    maximum_replicas: int


def describe_endpoint(*, url: str, credentials: str) -> Endpoint:
    """Return what an endpoint runs. See the contract for the arguments.

    Raises:
        StoreError: There are no credentials, or the answer cannot be read.
    """
    found = _read(url, credentials)
    return Endpoint([_named(each) for each in found.get("deployedModels", [])], _traffic(found.get("trafficSplit", {})))


def verify_deployment(
    *,
    url: str,
    uploaded_model: str,
    evaluation_path: str,
    model_path: str,
    registration_path: str,
    name: str,
    traffic_before: Mapping[str, Any],
    timeout: float,
    tolerance: float,
    credentials: str,
    deployment_path: str,
) -> dict[str, Any]:
    """Verify an endpoint, and undo its deployment where that fails. See the contract for the arguments.

    `uploaded_model` is `projects/PROJECT/locations/REGION/models/ID@VERSION`.

    Returns:
        The metadata of the deployment: `url`, `name`, `version`, `tested`.

    Raises:
        DeploymentError: The endpoint does not answer right; the message says what became of its traffic.
        StoreError: There are no credentials, or the endpoint cannot be read.
    """
    deployed = _deployed(_read(url, credentials), uploaded_model)
    if deployed is None:  # after an attempt that has taken it off: what answers now is another model
        raise DeploymentError(f"{url} does not run {uploaded_model}, which was deployed there: it was taken off since; run the pipeline again")
    try:
        return verify_endpoint(
            url=f"{url}:predict",
            evaluation_path=evaluation_path,
            model_path=model_path,
            registration_path=registration_path,
            name=name,
            credentials=credentials,
            timeout=timeout,
            tolerance=tolerance,
            version="",
            deployment_path=deployment_path,
        )
    except IntermodalError as error:
        raise DeploymentError(f"{error}\n{_undone(url, uploaded_model, _traffic(traffic_before), credentials)}") from error


def _undone(url: str, uploaded_model: str, traffic_before: dict[str, int], credentials: str) -> str:
    """Give the traffic of a model back to what had it before and take the model off; return in words what was done."""
    try:
        now = _read(url, credentials)
        deployed = _deployed(now, uploaded_model)
        # Another run may have taken the traffic meanwhile: then that stays.
        split = {"trafficSplit": traffic_before} if traffic_before and _traffic(now.get("trafficSplit", {})).get(str(deployed)) else {}
        headers = authorization(credentials)
        operation = ask(f"{url}:undeployModel", {"deployedModelId": deployed, **split}, headers, attempts=_ATTEMPTS)
        deadline = time.monotonic() + _PATIENCE
        while not operation.get("done") and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            operation = ask(f"{url.partition('/projects/')[0]}/{operation['name']}", headers=headers, attempts=_ATTEMPTS)
        if operation.get("error"):
            raise DeploymentError(str(operation["error"].get("message")))
    except IntermodalError as error:
        before = ",".join(f"{each}={share}" for each, share in traffic_before.items()) or "nothing"
        return f"The new model could not be taken off the endpoint: {error}; give the traffic back to {before} and undeploy {uploaded_model}"
    state = "is taken off" if operation.get("done") else "is being taken off"
    return f"The new model {state} the endpoint, " + ("whose traffic is as it was before." if traffic_before else "which served nothing before.")


def _read(url: str, credentials: str) -> dict[str, Any]:
    """Return the JSON object at an address of Vertex AI's API."""
    try:
        found = ask(url, headers=authorization(credentials), attempts=_ATTEMPTS)
    except DeploymentError as error:
        raise StoreError(str(error)) from error
    if not isinstance(found, dict):
        raise StoreError(f"{url} answers {type(found).__name__}; expected a JSON object")
    return found


def _named(deployed: Mapping[str, Any]) -> str:
    return f"{deployed['model'].partition('@')[0]}@{deployed.get('modelVersionId', '')}"


def _deployed(endpoint: Mapping[str, Any], model: str) -> str | None:
    """Return the id that a model has on an endpoint."""
    return next((str(each["id"]) for each in endpoint.get("deployedModels", []) if _named(each) == model), None)


def _traffic(split: Mapping[str, Any]) -> dict[str, int]:
    return {each: int(share) for each, share in split.items() if share}


def list_served(*, url: str, member: str, form: str, credentials: str) -> list[str]:
    """Return the names of the models that a registry has. See the contract for the arguments.

    Raises:
        ConfigurationError: A key of `form` is in no model's object.
        StoreError: There are no credentials, or the answer cannot be read.
    """
    models = _read(url, credentials).get(member) or []
    try:
        return [form.format_map(each) for each in models]
    except KeyError as error:
        raise ConfigurationError(f"form {form!r}: a model at {url} has no key {error}; there are {', '.join(sorted(models[0]))}") from error


def describe_upload(
    *,
    model_uri: str,
    registration_path: str,
    name: str,
    parent_model: str,
    known_models: Sequence[str],
    minimum_replicas: int,
    maximum_replicas: int,
) -> Upload:
    """Return how a model is uploaded. See the contract for the arguments.

    Raises:
        DataError: `registration.json` cannot be read.
    """
    version = re.sub(r"[^a-z0-9_-]", "-", version_of(registration_path, "").lower())[:63]
    return Upload(
        uri=model_uri,
        labels={"service": name, "model-version": version},
        parent_model=parent_model or next(iter(known_models), ""),
        maximum_replicas=int(maximum_replicas or minimum_replicas),
    )
