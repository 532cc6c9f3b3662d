"""A lock on a service, with a record of the change under way: a Lease in the cluster, which runs out when its holder was killed."""

import json
import os
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from intermodal.cluster.calls import Conflict, NotFound
from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.rollout.service import Superseded
from intermodal.runtime.errors import DeploymentError, StoreError

#: Seconds without a sign of life after which an attempt counts as dead.
LEASE_SECONDS: Final = 15
_RENEW_SECONDS: Final = 4.0
_POLL_SECONDS: Final = 0.5
_ATTEMPT: Final = "intermodal/attempt"
#: What an attempt is about to change, as JSON. Not in the InferenceService, whose annotations KServe copies to its pods: they would all start anew.
RECORD_ANNOTATION: Final = "intermodal/change"


class Lock:
    """The right to change a service, held while the block runs and renewed by a thread.

    Another holder is alive if it renews its Lease while we watch; clocks are never compared.

    Attributes:
        name: The Lease's name.
        record: What an attempt, this one or one that was killed, wrote down before it changed the service; None when all changes have ended.
    """

    def __init__(self, space: Namespace, service: str, version: str) -> None:
        """Name the Lease; nothing is called yet."""
        # A renewal that is late is worth nothing: short limits.
        self._space, self._service = space.hurried(), service
        self._change = f"to deploy version {version}" if version else "to deploy a model"
        self.name = f"intermodal-{service}"
        self._identity = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._lease: dict[str, Any] = {}
        self.record: Any = None
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="lease")

    def __enter__(self) -> "Lock":
        """Take the Lease; wait for one whose holder died.

        Raises:
            DeploymentError: Another attempt holds it, and lives.
        """
        seen, since = "", time.monotonic()
        while not self._lease:
            lease = self._space.lease(self.name)
            if lease is None:
                self._take(None)
                continue
            version = lease["metadata"]["resourceVersion"]
            if seen and version != seen:
                raise DeploymentError(
                    f"{self._space.name}/{self._service} is being changed by another attempt, {_described(lease)}; wait for it or cancel it, then "
                    "run this again"
                )
            if not seen:
                seen, since = version, time.monotonic()
            lasts = float(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)
            if not lease["spec"].get("holderIdentity") or time.monotonic() - since > lasts:
                self._take(lease)
            else:
                time.sleep(_POLL_SECONDS)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the Lease back, empty; without a holder, where a record must stay. One that cannot be given back runs out."""
        self._ended.set()
        # Not `with`: a renewal that hangs must not hold up a task that is being ended.
        if self._mutex.acquire(timeout=1):
            try:
                if self.record is None:
                    self._space.delete_lease(self.name, self._lease)
                else:
                    body = self._body(self._lease)
                    body["spec"]["holderIdentity"] = ""
                    self._space.replace_lease(body)
            except (StoreError, DeploymentError):
                pass
            finally:
                self._mutex.release()

    def write(self, record: Any) -> None:
        """Write down, before a change, what is needed to undo it; None when it has ended.

        Raises:
            Superseded: Another attempt has the Lease.
        """
        self.record = record
        self.check()

    def check(self) -> None:
        """Renew the Lease now; called before every change of the service.

        Raises:
            Superseded: Another attempt has it.
        """
        try:
            self._renew()
        except (Conflict, NotFound):
            other = self._space.lease(self.name)
            raise Superseded(
                f"this attempt was silent for more than {LEASE_SECONDS} s and {_described(other) if other else 'another one'} took "
                f"{self._space.name}/{self._service} over; nothing was changed any more"
            ) from None

    def _take(self, dead: dict[str, Any] | None) -> None:
        body = self._body(dead)
        try:
            self._lease = self._space.replace_lease(body) if dead else self._space.create_lease(body)
            self.record = _record(dead) if dead else None
        except (Conflict, NotFound):
            found = self._space.lease(self.name)
            # A create that was answered late and sent again meets its own work.
            if found and found["spec"].get("holderIdentity") == self._identity:
                self._lease = found

    def _renew(self) -> None:
        with self._mutex:
            try:
                self._lease = self._space.replace_lease(self._body(self._lease))
            except Conflict:
                found = self._space.lease(self.name)
                if not found or found["spec"].get("holderIdentity") != self._identity:
                    raise
                # A renewal whose answer was lost, or that a signal interrupted, meets its own work.
                self._lease = self._space.replace_lease(self._body(found))

    def _keep(self) -> None:
        while not self._ended.wait(_RENEW_SECONDS):
            try:
                self._renew()
            except (Conflict, NotFound):
                return  # `check` says so before the next change
            except (StoreError, DeploymentError):
                continue  # the cluster does not answer: as long as nobody else asks, the Lease stays ours

    def _body(self, read: dict[str, Any] | None) -> dict[str, Any]:
        record = self.record if self._lease or not read else _record(read)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        acquired = self._lease.get("spec", {}).get("acquireTime") or now
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.name,
                "namespace": self._space.name,
                "labels": {"app.kubernetes.io/managed-by": "intermodal"},
                "annotations": {
                    _ATTEMPT: self._change,
                    **({} if record is None else {RECORD_ANNOTATION: json.dumps(record, sort_keys=True)}),
                },
                **({key: read["metadata"][key] for key in ("uid", "resourceVersion")} if read else {}),
            },
            "spec": {"holderIdentity": self._identity, "leaseDurationSeconds": LEASE_SECONDS, "acquireTime": acquired, "renewTime": now},
        }


def _record(lease: dict[str, Any]) -> Any:
    return json.loads((lease["metadata"].get("annotations") or {}).get(RECORD_ANNOTATION, "null"))


def _described(lease: dict[str, Any]) -> str:
    what = (lease["metadata"].get("annotations") or {}).get(_ATTEMPT, "of another program")
    return f"{what}, by {lease['spec'].get('holderIdentity')} since {lease['spec'].get('acquireTime')}"
