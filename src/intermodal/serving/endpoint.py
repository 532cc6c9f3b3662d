"""How a deployed model is called: the content of `deployment.json`. Standard library only."""

import json
import shlex
from collections.abc import Mapping
from typing import Any


def endpoint(
    *, name: str, url: str, version: str, protocols: Mapping[str, str], exchange: Mapping[str, Any], google_token: bool = False
) -> dict[str, Any]:
    """Return the content of `deployment.json`.

    Args:
        name: The deployment's name.
        url: Its address.
        version: The registered version.
        protocols: The address for predictions of each protocol; `v1` is what `command` calls.
        exchange: `request` and `response`, as `SmokeTest` returns them.
        google_token: Whether the command sends a token of the Google Cloud command line.
    """
    token = '-H "Authorization: Bearer $(gcloud auth print-access-token)" ' if google_token else ""
    header, body = (shlex.quote(text) for text in ("Content-Type: application/json", json.dumps(exchange["request"])))
    return {
        "name": name,
        "url": url,
        "version": version,
        "protocols": dict(protocols),
        "request": exchange["request"],
        "response": exchange["response"],
        "command": f"curl -s {shlex.quote(protocols['v1'])} {token}-H {header} -d {body}",
    }


def open_inference(url: str, name: str) -> dict[str, str]:
    """Return the addresses for predictions on a KServe server, by protocol."""
    return {"v1": f"{url}/v1/models/{name}:predict", "v2": f"{url}/v2/models/{name}/infer"}
