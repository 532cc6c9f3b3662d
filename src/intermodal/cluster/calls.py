"""Calls to a cluster's API server: repeated where that may help, and its refusals in words."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from intermodal.runtime.errors import DeploymentError, IntermodalError, StoreError

#: Statuses that mean "later", never "no".
_TRANSIENT: Final = frozenset({429, 500, 502, 503, 504})

T = TypeVar("T")


class NotFound(DeploymentError):  # noqa: N818
    """What was asked for is not there, or its kind is not known to the cluster."""


class Conflict(DeploymentError):  # noqa: N818
    """Somebody else changed it since it was read, or made it first."""


@dataclass
class Calls:
    """How calls are made.

    Attributes:
        role: The file with the Role that a task's account needs, for the message of a refusal.
        seconds: Limit of one call.
        attempts: How often a call is made that the server cannot answer now.
        refused: The error of a request that the cluster refuses.
        denied: The error where the account lacks a permission, or is unknown.
        unreachable: The error where the server does not answer.
    """

    role: str
    seconds: float = 30.0
    attempts: int = 4
    refused: type[IntermodalError] = DeploymentError
    denied: type[IntermodalError] = StoreError
    unreachable: type[IntermodalError] = StoreError

    def call(self, request: Callable[[], T], what: str) -> T:
        """Make a call that may be repeated.

        Args:
            request: Makes it.
            what: What it does, for the message: ``reading pod default/main``.

        Raises:
            NotFound: HTTP 404.
            Conflict: HTTP 409.
            IntermodalError: Of the types of the attributes.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return request()
            except ApiException as error:
                later = error.status in _TRANSIENT and not _refused_by_webhook(error)
                if not later or attempt >= self.attempts:
                    raise self._in_words(error, what, unavailable=later) from error
            except HTTPError as error:
                if attempt >= self.attempts:
                    raise self.unreachable(f"{what}: the cluster does not answer ({error}); check the kubeconfig's server and the network") from error
            time.sleep(2**attempt / 8)

    def _in_words(self, error: ApiException, what: str, *, unavailable: bool) -> Exception:
        message = _message(error)
        if error.status == 404:
            return NotFound(f"{what}: {message}")
        if error.status == 409:
            return Conflict(f"{what}: {message}")
        if error.status == 401:
            return self.denied(f"{what}: the cluster does not know these credentials; renew the kubeconfig or the service account")
        if error.status == 403 and "quota" not in message and not _refused_by_webhook(error):
            return self.denied(f"{what}: {message}; bind the Role in {self.role} to the task's service account")
        if unavailable and self.unreachable is not self.refused and self.unreachable is not self.denied:
            return self.unreachable(f"{what}: the cluster cannot answer now (HTTP {error.status}): {message}")
        return self.refused(f"{what}: refused: {message}")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)


def _refused_by_webhook(error: ApiException) -> bool:
    return "denied the request" in _message(error)
