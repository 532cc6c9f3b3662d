"""JSON over HTTP, with errors in words."""

import json
from collections.abc import Mapping
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from intermodal.runtime.errors import DeploymentError

_SECONDS: Final = 30.0
#: Statuses that mean "later", never "no".
_TRANSIENT: Final = (429, 500, 502, 503, 504)


class RefusedError(DeploymentError):
    """A server answered with an error status.

    Attributes:
        status: The status.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def ask(url: str, body: Any = None, headers: Mapping[str, str] | None = None, *, attempts: int = 1, seconds: float = _SECONDS) -> Any:
    """POST JSON, or GET where there is no body, and return the JSON that comes back.

    Args:
        url: The address.
        body: What to post.
        headers: Further headers.
        attempts: How often to try where the server answers 429 or 5xx, or the connection breaks; 1, 2, 4 ... seconds apart.
        seconds: How long to wait for the connection, and between two pieces of the answer.

    Raises:
        RefusedError: The server answers an error.
        DeploymentError: It does not answer, or with no JSON.
    """
    retry = Retry(attempts - 1, backoff_factor=0.5, status_forcelist=_TRANSIENT, allowed_methods=None, raise_on_status=False)
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            answer = session.request("GET" if body is None else "POST", url, json=body, headers=headers, timeout=seconds)
    except requests.RequestException as error:
        raise DeploymentError(f"{url} does not answer: {error}") from error
    if not answer.ok:
        raise RefusedError(f"{url} answers HTTP {answer.status_code}: {answer.content[:2000].decode(errors='replace')}", answer.status_code)
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise DeploymentError(f"{url} answers with no JSON ({error}): {answer.content[:200]!r}") from error
