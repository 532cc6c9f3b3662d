"""How a deployed model is called: the content of `deployment.json`."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from intermodal.rollout.state import State
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.serving.smoke_test import Exchange


def write_deployment(
    path: str,
    *,
    name: str,
    url: str,
    version: str,
    protocols: Mapping[str, str],
    exchange: Exchange,
    google_token: bool = False,
    state: State | None = None,
) -> dict[str, Any]:
    """Write `deployment.json` into a directory, and return the artifact's metadata.

    Args:
        path: The directory.
        name: The deployment's name.
        url: Its address.
        version: The model's version; empty where there is none.
        protocols: The address for predictions of each protocol, `v1` and `v2`.
        exchange: What the smoke test saw.
        google_token: Whether the command sends a token of the Google Cloud command line.
        state: Of the rollout; None: the model got all requests at once.

    Returns:
        `url`, `name`, `version`, and what was `tested`.
    """
    request = exchange.request
    command = ""
    if request is not None:
        token = '-H "Authorization: Bearer $(gcloud auth print-access-token)" ' if google_token else ""
        header, body = (shlex.quote(text) for text in ("Content-Type: application/json", json.dumps(request)))
        command = f"curl -s {shlex.quote(protocols['v1' if 'instances' in request else 'v2'])} {token}-H {header} -d {body}"
    metadata = {"name": name, "url": url, "version": version, "tested": exchange.tested}
    content = {**metadata, "protocols": dict(protocols), "request": request, "response": exchange.response, "command": command}
    if state and state.plan:
        content["rollout"] = {"strategy": state.plan.strategy, "events": list(state.events)}
    with whole_directory(path) as folder:
        write_json(folder / "deployment.json", content)
    return metadata


def open_inference(url: str, name: str) -> dict[str, str]:
    """Return the addresses for predictions on a KServe server, by protocol."""
    return {"v1": f"{url}/v1/models/{name}:predict", "v2": f"{url}/v2/models/{name}/infer"}


def version_of(registration_path: str | None, version: str) -> str:
    """Return the version that is served: the one given, or that of `registration.json`, or none.

    Raises:
        DataError: `registration.json` cannot be read.
    """
    if version or registration_path is None:
        return version
    return str(read_json(f"{registration_path}/registration.json")["version"])
