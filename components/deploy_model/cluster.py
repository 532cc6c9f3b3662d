"""The calls to a cluster that a deployment needs, with a time limit each and the server's refusal in words."""

import json
import os
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from intermodal.errors import DeploymentError, StoreError

FIELD_MANAGER: Final = "intermodal"
_CALL_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 3
_ATTEMPTS: Final = 4
#: Statuses that mean "later", never "no".
_PASSING: Final = frozenset({429, 500, 502, 503, 504})

T = TypeVar("T")


def connect() -> client.ApiClient:
    """Return a client of the cluster the task runs in, or of the current context of `KUBECONFIG`.

    Raises:
        StoreError: There is neither.
    """
    inside = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=inside)
        return client.ApiClient(inside)
    except config.ConfigException:
        pass
    try:
        # The library looks at KUBECONFIG when it is imported, once.
        return config.new_client_from_config(config_file=os.environ.get("KUBECONFIG"))
    except config.ConfigException as error:
        raise StoreError(f"no cluster to deploy to: not in a pod, and no kubeconfig ({error}); set KUBECONFIG") from error


class Namespace:
    """One namespace of a cluster, as far as a deployment reads or changes it."""

    def __init__(self, api: client.ApiClient, name: str) -> None:
        """Wrap `name`; nothing is called yet."""
        self.name = name
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._api = api

    def _service(self, name: str) -> dict[str, str]:
        return {"group": "serving.kserve.io", "version": "v1beta1", "namespace": self.name, "plural": "inferenceservices", "name": name}

    def service(self, name: str) -> dict[str, Any] | None:
        """Return the InferenceService, or None where there is none."""
        try:
            found: dict[str, Any] = _call(
                lambda: self._custom.get_namespaced_custom_object(**self._service(name), _request_timeout=_CALL_SECONDS),
                f"reading InferenceService {self.name}/{name}",
            )
        except _NotFound:
            return None
        return found

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Apply an InferenceService server-side and return what the server made of it; equal manifests change nothing.

        Safe to repeat, so it is retried. Conflicts are forced: the pipeline owns the fields that it sets.
        """
        name = manifest["metadata"]["name"]
        try:
            raw = _call(
                lambda: self._custom.patch_namespaced_custom_object(
                    **self._service(name),
                    body=manifest,
                    field_manager=FIELD_MANAGER,
                    force=True,
                    _content_type="application/apply-patch+yaml",
                    _preload_content=False,  # the client decodes 200 alone: for 201, a new object, it returns None
                    _request_timeout=_CALL_SECONDS,
                ),
                f"applying InferenceService {self.name}/{name}",
            )
        except _NotFound as error:
            raise StoreError(f"{error}; install KServe on the cluster") from error
        applied: dict[str, Any] = json.loads(raw.data)
        return applied

    def delete(self, name: str) -> None:
        """Delete an InferenceService; one that is gone already is fine."""
        try:
            _call(
                lambda: self._custom.delete_namespaced_custom_object(**self._service(name), _request_timeout=_CALL_SECONDS),
                f"deleting InferenceService {self.name}/{name}",
            )
        except _NotFound:
            return

    def pods(self, service: str) -> list[Any]:
        """Return the predictor's pods, newest first."""
        found = _call(
            lambda: self._core.list_namespaced_pod(
                self.name, label_selector=f"serving.kserve.io/inferenceservice={service}", _request_timeout=_CALL_SECONDS
            ),
            f"listing the pods of {self.name}/{service}",
        )
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def last_lines(self, pod: str, container: str, *, lines: int = 12) -> str:
        """Return the end of a container's log: of the run that ended, if it was restarted; empty where there is none."""
        for previous in (True, False):
            try:
                text: str = _call(
                    lambda previous=previous: self._core.read_namespaced_pod_log(  # type: ignore[misc]
                        pod, self.name, container=container, previous=previous, tail_lines=lines, _request_timeout=_CALL_SECONDS
                    ),
                    f"reading the log of pod {self.name}/{pod}",
                )
            except (DeploymentError, StoreError):
                # Without its log a failure is still to be told.
                continue
            if text.strip():
                return text.strip()
        return ""

    def post_json(self, pod: Any, port: int, path: str, body: Any) -> Any:
        """POST JSON to a pod: straight to its address, as from inside the cluster, or where that leads nowhere through the API server.

        Neither needs DNS or an ingress. Prediction is safe to repeat.
        """
        try:
            answer = PoolManager(retries=False).request(
                "POST", f"http://{pod.status.pod_ip}:{port}/{path}", json=body, timeout=Timeout(connect=_CONNECT_SECONDS, read=_CALL_SECONDS)
            )
        except HTTPError:
            return self._post_by_proxy(pod.metadata.name, port, path, body)
        if answer.status != 200:
            raise DeploymentError(f"pod {self.name}/{pod.metadata.name} answers HTTP {answer.status}: {answer.data[:500].decode(errors='replace')}")
        return answer.json()

    def _post_by_proxy(self, pod: str, port: int, path: str, body: Any) -> Any:
        raw = _call(
            lambda: self._api.call_api(
                f"/api/v1/namespaces/{self.name}/pods/{pod}:{port}/proxy/{path}",
                "POST",
                header_params={"Content-Type": "application/json", "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=_CALL_SECONDS,
            ),
            f"asking pod {self.name}/{pod} for a prediction",
        )
        return json.loads(raw.data)


class _NotFound(DeploymentError):  # noqa: N818
    pass


def _call(request: Callable[[], T], what: str) -> T:
    for attempt in range(_ATTEMPTS):
        try:
            return request()
        except ApiException as error:
            if error.status in _PASSING and not _refused_by_webhook(error) and attempt < _ATTEMPTS - 1:
                time.sleep(2**attempt / 4)
                continue
            raise _in_words(error, what) from error
        except HTTPError as error:
            if attempt == _ATTEMPTS - 1:
                raise StoreError(f"{what}: the cluster does not answer ({error}); check the kubeconfig's server and the network") from error
            time.sleep(2**attempt / 4)
    raise AssertionError("unreachable")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.body or error.reason)


def _refused_by_webhook(error: ApiException) -> bool:
    return "denied the request" in _message(error)


def _in_words(error: ApiException, what: str) -> Exception:
    message = _message(error)
    if error.status == 404:
        return _NotFound(f"{what}: {message}")
    if error.status == 401:
        return StoreError(f"{what}: the cluster does not know these credentials; renew the kubeconfig or the service account")
    if error.status == 403 and "quota" not in message:
        return StoreError(f"{what}: {message}; bind the Role in components/deploy_model/role.yaml to the task's service account")
    return DeploymentError(f"{what}: refused: {message}")
