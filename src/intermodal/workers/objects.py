"""Objects of one kind in a cluster, each of which runs pods for a task: created, followed and deleted by the task's own pod."""

import json
from collections.abc import Callable
from typing import Any, ClassVar, Final

from kubernetes import client
from urllib3.response import BaseHTTPResponse

from intermodal.cluster.calls import Calls, NotFound
from intermodal.cluster.connection import own_pod_name
from intermodal.runtime.errors import ConfigurationError, DeniedError, PlatformError

#: Seconds of a call while the task is being ended: there are 30 until it is killed.
_CANCELLED_SECONDS: Final = 3.0


class UnreachableError(PlatformError):
    """The API server does not answer."""


class Objects:
    """The objects of one namespace, with their pods.

    Attributes:
        kind: For messages.
        group: Of the API.
        version: Of the API.
        plural: Of the kind.
        label: Label of the pods, with the object's name.
        role: The file with the Role that a task's account needs.
        namespace: The namespace.
    """

    kind: ClassVar[str]
    group: ClassVar[str]
    version: ClassVar[str]
    plural: ClassVar[str]
    label: ClassVar[str]
    role: ClassVar[str]

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        """Wrap `namespace`; nothing is called yet."""
        self.namespace = namespace
        self._api, self._core, self._custom = api, client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._calls = Calls(self.role, refused=PlatformError, denied=DeniedError, unreachable=UnreachableError)

    def hurry(self) -> None:
        """From now on wait for no call longer than a task that is being ended can."""
        self._calls.seconds, self._calls.attempts = _CANCELLED_SECONDS, 2

    def find(self, name: str) -> dict[str, Any] | None:
        """Return an object, or None where there is none."""
        try:
            return self._plain(
                lambda **more: self._custom.get_namespaced_custom_object(**self._place, name=name, **more),
                f"reading {self.kind} {self.namespace}/{name}",
            )
        except NotFound:
            return None

    def create(self, manifest: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
        """Create an object; `dry`: only ask whether the cluster would take it, and return what it would make of it.

        Raises:
            Conflict: There is one of that name.
            DeniedError: The account may not.
            PlatformError: The cluster refuses it: a webhook, a quota.
        """
        asked = {"field_validation": "Strict"} | ({"dry_run": "All"} if dry else {})
        what = f"creating {self.kind} {self.namespace}/{manifest['metadata']['name']}"
        return self._plain(lambda **more: self._custom.create_namespaced_custom_object(**self._place, body=manifest, **asked, **more), what)

    def own(self, name: str, uid: str, owner: dict[str, Any]) -> None:
        """Make a pod the owner of an object, in place of another."""
        body = {"metadata": {"uid": uid, "ownerReferences": [owner]}}
        self._calls.call(
            lambda: self._custom.patch_namespaced_custom_object(
                **self._place, name=name, body=body, _content_type="application/merge-patch+json", _request_timeout=self._calls.seconds
            ),
            f"taking over {self.kind} {self.namespace}/{name}",
        )

    def delete(self, name: str, uid: str) -> None:
        """Delete it if it still is the one of that uid; its pods go after it.

        Not in the foreground: while a TrainJob waits there for its JobSet to go, Trainer 2.3 makes that JobSet anew, and pods start again.
        """
        try:
            self._calls.call(
                lambda: self._custom.delete_namespaced_custom_object(
                    **self._place,
                    name=name,
                    body={"propagationPolicy": "Background", "preconditions": {"uid": uid}},
                    _request_timeout=self._calls.seconds,
                ),
                f"deleting {self.kind} {self.namespace}/{name}",
            )
        except NotFound:
            return

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of an object."""
        found: list[dict[str, Any]] = self._plain(
            lambda **more: self._core.list_namespaced_pod(self.namespace, label_selector=f"{self.label}={name}", **more),
            f"listing the pods of {self.kind} {self.namespace}/{name}",
        )["items"]
        return found

    def own_pod(self) -> dict[str, Any]:
        """Return the pod that this runs in.

        Raises:
            ConfigurationError: There is none of the name that it should have.
        """
        name = own_pod_name()
        # By listing, which the Role of deploy_kserve allows too.
        found: list[dict[str, Any]] = self._plain(
            lambda **more: self._core.list_namespaced_pod(self.namespace, field_selector=f"metadata.name={name}", **more),
            f"reading pod {self.namespace}/{name}",
        )["items"]
        if not found:
            raise ConfigurationError(
                f"there is no pod {name!r} in {self.namespace}, whose image and resources the workers would get; set the variable KFP_POD_NAME to "
                "the name of the pod that this task runs in"
            )
        return found[0]

    def warnings(self, name: str) -> str:
        """Return the newest warning of an object and of what was made for it; empty where there is none, or they may not be read."""
        try:
            found = self._plain(
                lambda **more: self._core.list_namespaced_event(self.namespace, field_selector="type=Warning", **more), "listing events"
            )["items"]
        except PlatformError:
            return ""
        ours = [each for each in found if str(each["involvedObject"].get("name", "")).startswith(name)]
        newest = max(ours, key=lambda each: each.get("lastTimestamp") or each.get("eventTime") or "", default=None)
        return f"{newest.get('reason', '')}: {newest.get('message', '')}" if newest else ""

    def log(self, pod: str, container: str, *, since: str = "", follow: bool = False, lines: int | None = None) -> BaseHTTPResponse:
        """Return the answer that brings a container's log, each line after its time; to be released by the caller.

        Args:
            pod: The pod's name.
            container: The container's name.
            since: Time before which lines are left out, as the log has it. Default: none.
            follow: Whether the answer goes on while the container runs.
            lines: How many of the last lines. Default: all.
        """
        query = [("container", container), ("timestamps", "true"), ("follow", str(follow).lower())]
        query += [("sinceTime", since)] * bool(since) + [("tailLines", str(lines))] * (lines is not None)
        answer: BaseHTTPResponse = self._calls.call(
            lambda: self._api.call_api(
                f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log",
                "GET",
                query_params=query,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                # Nothing may come for long while a worker computes.
                _request_timeout=(self._calls.seconds, None) if follow else self._calls.seconds,
            ),
            f"reading the log of pod {self.namespace}/{pod}",
        )
        return answer

    def last_lines(self, pod: str, container: str, lines: int) -> list[str]:
        """Return the end of a container's log; empty where it cannot be read: a failure is reported without its log too."""
        try:
            raw = self.log(pod, container, lines=lines).data
        except (PlatformError, NotFound):
            return []
        return [line.partition(" ")[2] for line in raw.decode(errors="replace").splitlines()]

    @property
    def _place(self) -> dict[str, str]:
        return {"group": self.group, "version": self.version, "namespace": self.namespace, "plural": self.plural}

    def _plain(self, request: Callable[..., Any], what: str) -> dict[str, Any]:
        """Return an answer as it came."""
        found: dict[str, Any] = json.loads(self._calls.call(lambda: request(_preload_content=False, _request_timeout=self._calls.seconds), what).data)
        return found
