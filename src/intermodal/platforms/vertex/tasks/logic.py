"""What the tasks of the deploy step do; runs in the image `serve`."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from intermodal.components.verify_endpoint.authorization import authorization
from intermodal.runtime.errors import ConfigurationError, DeploymentError, StoreError
from intermodal.serving.endpoint import version_of
from intermodal.serving.json_http import ask

_ATTEMPTS: Final = 4


class Upload(NamedTuple):
    """How a model is uploaded; see the contract."""

    uri: str
    labels: dict[str, str]
    parent_model: str
    maximum_replicas: int


def list_served(*, url: str, member: str, form: str, credentials: str) -> list[str]:
    """Return the names of the models that an endpoint runs, or a registry has. See the contract for the arguments.

    Raises:
        ConfigurationError: A key of `form` is in no model's object.
        StoreError: There are no credentials, or the answer cannot be read.
    """
    try:
        found = ask(url, headers=authorization(credentials), attempts=_ATTEMPTS)
    except DeploymentError as error:
        raise StoreError(str(error)) from error
    if not isinstance(found, dict):
        raise StoreError(f"{url} answers {type(found).__name__}; expected a JSON object")
    models = found.get(member) or []
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
