"""The calls to a cluster that a deployment needs, with a time limit each and the server's refusal in words."""

import json
from collections.abc import Callable
from typing import Any, Final

from kubernetes import client
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from intermodal.cluster.calls import Calls, NotFound
from intermodal.cluster.connection import in_pod, own_namespace, own_pod_name
from intermodal.runtime.errors import ConfigurationError, DeploymentError, StoreError

FIELD_MANAGER: Final = "intermodal"
_CONNECT_SECONDS: Final = 3
#: While a task is being ended: there are 30 seconds until it is killed.
_CANCELLED_SECONDS: Final = 3.0
_CANCELLED_ATTEMPTS: Final = 2


def own_image(api: client.ApiClient) -> str:
    """Return the image of the pod that this runs in.

    Raises:
        ConfigurationError: This runs in no pod, or the pod cannot be read.
    """
    remedy = "image: name the predictor's image (docs/how-to/images.md says how it is built)"
    if not in_pod():
        raise ConfigurationError(f"{remedy}; only a task in a cluster can take its own")
    host, space = own_pod_name(), Namespace(api, own_namespace())
    pods = space.named_pods(host)
    containers = {each.name: each.image for pod in pods for each in pod.spec.containers}
    if "main" not in containers and len(containers) != 1:
        raise ConfigurationError(f"{remedy}; {host} in {space.name} is no pod with one container or a container main")
    return str(containers.get("main") or next(iter(containers.values())))


class Namespace:
    """One namespace of a cluster, as far as a deployment reads or changes it."""

    def __init__(self, api: client.ApiClient, name: str) -> None:
        """Wrap `name`; nothing is called yet."""
        self.name = name
        self._custom = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._leases = client.CoordinationV1Api(api)
        self._api = api
        self._calls = Calls("components/deploy_kserve/role.yaml")

    def hurried(self) -> "Namespace":
        """Return the same namespace with short time limits."""
        other = Namespace(self._api, self.name)
        other.hurry()
        return other

    def hurry(self) -> None:
        """From now on wait for no call longer than a task that is being ended can."""
        self._calls.seconds, self._calls.attempts = _CANCELLED_SECONDS, _CANCELLED_ATTEMPTS

    def _service(self, name: str) -> dict[str, str]:
        return {"group": "serving.kserve.io", "version": "v1beta1", "namespace": self.name, "plural": "inferenceservices", "name": name}

    def service(self, name: str) -> dict[str, Any] | None:
        """Return the InferenceService, or None where there is none."""
        try:
            found: dict[str, Any] = self._calls.call(
                lambda: self._custom.get_namespaced_custom_object(**self._service(name), _request_timeout=self._calls.seconds),
                f"reading InferenceService {self.name}/{name}",
            )
        except NotFound:
            return None
        return found

    def apply(self, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply an InferenceService server-side and return what the server made of it; equal manifests change nothing.

        Safe to repeat, so it is retried. Conflicts are forced: the pipeline owns the fields that it sets.

        Args:
            manifest: The fields that are ours. Those that were ours and are left out are removed.
            dry_run: Whether to change nothing: the server, its webhooks included, only says what it would make of it.
        """
        name = manifest["metadata"]["name"]
        try:
            raw = self._calls.call(
                lambda: self._custom.patch_namespaced_custom_object(
                    **self._service(name),
                    body=manifest,
                    field_manager=FIELD_MANAGER,
                    force=True,
                    **({"dry_run": "All"} if dry_run else {}),
                    _content_type="application/apply-patch+yaml",
                    _preload_content=False,  # the client decodes 200 alone: for 201, a new object, it returns None
                    _request_timeout=self._calls.seconds,
                ),
                f"applying InferenceService {self.name}/{name}",
            )
        except NotFound as error:
            raise StoreError(f"{error}; install KServe on the cluster") from error
        applied: dict[str, Any] = json.loads(raw.data)
        return applied

    def delete(self, name: str) -> None:
        """Delete an InferenceService; it is gone when all that was made for it is gone. One that is gone already is fine."""
        try:
            self._calls.call(
                lambda: self._custom.delete_namespaced_custom_object(
                    **self._service(name), propagation_policy="Foreground", _request_timeout=self._calls.seconds
                ),
                f"deleting InferenceService {self.name}/{name}",
            )
        except NotFound:
            return

    def lease(self, name: str) -> dict[str, Any] | None:
        """Return a Lease, or None where there is none."""
        try:
            return self._plain(lambda **more: self._leases.read_namespaced_lease(name, self.name, **more), f"reading Lease {self.name}/{name}")
        except NotFound:
            return None

    def create_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Create a Lease.

        Raises:
            Conflict: There is one.
        """
        what = f"creating Lease {self.name}/{lease['metadata']['name']}"
        return self._plain(lambda **more: self._leases.create_namespaced_lease(self.name, lease, **more), what)

    def replace_lease(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Replace a Lease by one with the `resourceVersion` and the `uid` that were read; without a `uid` the server would make a new one.

        Raises:
            Conflict: It was changed or deleted since.
        """
        name = lease["metadata"]["name"]
        return self._plain(lambda **more: self._leases.replace_namespaced_lease(name, self.name, lease, **more), f"renewing Lease {self.name}/{name}")

    def delete_lease(self, name: str, lease: dict[str, Any]) -> None:
        """Delete a Lease if it still is the one that was read.

        Raises:
            Conflict: It is another one.
            NotFound: There is none any more.
        """
        conditions = {"preconditions": {key: lease["metadata"][key] for key in ("uid", "resourceVersion")}}
        self._plain(
            lambda **more: self._leases.delete_namespaced_lease(name, self.name, body=conditions, **more), f"deleting Lease {self.name}/{name}"
        )

    def _plain(self, request: Callable[..., Any], what: str) -> dict[str, Any]:
        """Return an answer as it came: the client's own classes neither keep a time's form nor all fields."""
        found: dict[str, Any] = json.loads(self._calls.call(lambda: request(_preload_content=False, _request_timeout=self._calls.seconds), what).data)
        return found

    def pods(self, service: str) -> list[Any]:
        """Return the predictor's pods, newest first."""
        found = self._calls.call(
            lambda: self._core.list_namespaced_pod(
                self.name, label_selector=f"serving.kserve.io/inferenceservice={service}", _request_timeout=self._calls.seconds
            ),
            f"listing the pods of {self.name}/{service}",
        )
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def named_pods(self, name: str) -> list[Any]:
        """Return the pods of a name: one or none. By listing, which the Role allows."""
        found = self._calls.call(
            lambda: self._core.list_namespaced_pod(self.name, field_selector=f"metadata.name={name}", _request_timeout=self._calls.seconds),
            f"reading pod {self.name}/{name}",
        )
        return list(found.items)

    def last_lines(self, pod: str, container: str, *, lines: int = 12) -> str:
        """Return the end of a container's log: of the run that ended, if it was restarted; empty where there is none."""
        for previous in (True, False):
            try:
                raw = self._calls.call(
                    lambda previous=previous: self._core.read_namespaced_pod_log(  # type: ignore[misc]
                        pod,
                        self.name,
                        container=container,
                        previous=previous,
                        tail_lines=lines,
                        _preload_content=False,  # the client makes "b'...'" of what it decodes itself
                        _request_timeout=self._calls.seconds,
                    ),
                    f"reading the log of pod {self.name}/{pod}",
                )
            except (DeploymentError, StoreError):
                # A failure is reported without its log too.
                continue
            if text := raw.data.decode(errors="replace").strip():
                return str(text)
        return ""

    def ask(self, pod: Any, port: int, path: str, body: Any) -> Any:
        """POST JSON to a pod, or GET where there is no body: at its address, as from inside the cluster, or through the API server.

        Neither needs DNS or an ingress. Prediction is safe to repeat.
        """
        name = f"pod {self.name}/{pod.metadata.name}"
        method = "GET" if body is None else "POST"
        try:
            answer = PoolManager(retries=False).request(
                method, f"http://{pod.status.pod_ip}:{port}/{path}", json=body, timeout=Timeout(connect=_CONNECT_SECONDS, read=self._calls.seconds)
            )
        except HTTPError:
            status, data = 200, self._ask_by_proxy(method, pod.metadata.name, port, path, body)
        else:
            status, data = answer.status, answer.data
        if status != 200:
            raise DeploymentError(f"{name} answers HTTP {status} to {path}: {data[:500].decode(errors='replace')}")
        try:
            return json.loads(data)
        except ValueError as error:
            raise DeploymentError(f"{name} answers {path} with no JSON ({error}): {data[:200]!r}") from error

    def _ask_by_proxy(self, method: str, pod: str, port: int, path: str, body: Any) -> bytes:
        raw = self._calls.call(
            lambda: self._api.call_api(
                f"/api/v1/namespaces/{self.name}/pods/{pod}:{port}/proxy/{path}",
                method,
                header_params={"Content-Type": "application/json", "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=self._calls.seconds,
            ),
            f"asking pod {self.name}/{pod} for a prediction",
        )
        data: bytes = raw.data
        return data
