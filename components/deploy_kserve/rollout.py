"""A change of a service: the model is tried beside it first, then the service is changed to what was tried, or left or restored as it was."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from intermodal.cluster.cancellation import Cancelled
from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.components.deploy_kserve.lock import Lock
from intermodal.components.deploy_kserve.manifest import (
    CANDIDATE_ANNOTATION,
    as_manifest,
    candidate,
    candidate_name,
    revision_of,
    server_of,
    with_revision,
)
from intermodal.components.deploy_kserve.readiness import is_rolled_out, of_revision, wait_until_gone, wait_until_rolled_out
from intermodal.rollout.service import Superseded
from intermodal.runtime.errors import ConfigurationError, DeploymentError, IntermodalError, StoreError
from intermodal.serving.smoke_test import Exchange, SmokeTest

_GONE_SECONDS: Final = 120.0


class Rollout:
    """One attempt to bring a service to a manifest. All state is in the cluster; an attempt that is killed is finished or undone by the next.

    The order, and what a kill leaves at each point:

    1. The candidate, an InferenceService of its own without a route, comes up and is tested. Killed: the service is untouched.
    2. The candidate is removed. Killed: the same.
    3. What serves is written into the lock's record, with the revision that is to come; then the service gets the tested specification. Killed
       between the two: the service has another revision than the record, which so means nothing. Killed after: the next attempt of the same model
       goes on at 4; one of another model takes as earlier what the record says, or the live specification if that came to serve in full.
    4. The service's own pods are tested. Then the record is removed.
    """

    def __init__(
        self, space: Namespace, lock: Lock, manifest: Mapping[str, Any], smoke_test: SmokeTest, *, protocols: Sequence[str], timeout: float
    ) -> None:
        """Take what the service is to be; nothing is called yet.

        Args:
            space: The namespace.
            lock: Held by this attempt.
            manifest: The service, without revision and record.
            smoke_test: What it must answer.
            protocols: Those that the server speaks, of `v1` and `v2`.
            timeout: Seconds until the candidate, and then the service, is ready.
        """
        self._space, self._lock, self._smoke_test, self._protocols, self._timeout = space, lock, smoke_test, protocols, timeout
        self._manifest = dict(manifest)
        self._name: str = manifest["metadata"]["name"]
        self._candidate = candidate_name(self._name, space.name)
        #: What to undo, last first; each says in words what it did.
        self._undo: list[Callable[[], str]] = []

    def run(self) -> tuple[dict[str, Any], Exchange]:
        """Bring the service to the manifest; return the service as it is then, and what the smoke test saw.

        Raises:
            ConfigurationError: A service that is no candidate of ours has the candidate's name.
            DeploymentError: It was refused, did not become ready or answered wrong, or another attempt took over.
            StoreError: The cluster does not answer, or refuses a right.
            Cancelled: The task was asked to end.
        """
        try:
            return self._run()
        except Superseded:
            raise
        except IntermodalError as error:
            try:
                undone = self._undo_all()
            except Cancelled:  # asked to end while undoing; later signals are ignored, and undoing twice is undoing once
                self._space.hurry()
                undone = self._undo_all()
            raise _of_same_kind(error)(f"{error}\n{undone}") from error
        except Cancelled as error:
            self._space.hurry()
            raise Cancelled(self._undo_all()) from error
        except BaseException as error:
            self._space.hurry()
            error.add_note(self._undo_all())
            raise

    def _run(self) -> tuple[dict[str, Any], Exchange]:
        before = self._settled(self._name)
        # A dry run first: what the webhook refuses is an error before anything is made.
        unchanged, planned = self._planned(before)
        self._remove_candidate(self._settled(self._candidate))
        resumed = before is not None and self._change_under_way(before)
        if not resumed:
            self._lock.record = None  # of a change that was never made
        earlier = self._earlier(before, unchanged=unchanged)
        if not unchanged:
            self._try(candidate(planned))
        if resumed or not unchanged:
            self._lock.write({"revision": revision_of(planned), "earlier": earlier})
            self._undo.append(partial(self._restore, earlier))
            self._apply(with_revision(self._manifest, str(revision_of(planned))))
        exchange = self._test(self._name, revision_of(planned))
        self._lock.write(None)
        self._undo.clear()
        return self._space.service(self._name) or planned, exchange

    def _change_under_way(self, service: Mapping[str, Any]) -> bool:
        """Say whether an attempt changed the service to what it is now, and did not end."""
        return bool(self._lock.record) and self._lock.record["revision"] == revision_of(service)

    def _planned(self, before: dict[str, Any] | None) -> tuple[bool, dict[str, Any]]:
        """Say whether the service has this very specification already, and return what the cluster would make of the manifest."""
        if before and (revision := revision_of(before)):
            same = self._space.apply(with_revision(self._manifest, revision), dry_run=True)
            if same["spec"] == before["spec"]:
                return True, same
        return False, self._space.apply(with_revision(self._manifest, uuid.uuid4().hex[:12]), dry_run=True)

    def _earlier(self, before: dict[str, Any] | None, *, unchanged: bool) -> dict[str, Any] | None:
        """Return what served before, as a manifest; never a change that was not completed."""
        if before is None:
            return None
        if self._change_under_way(before):
            complete = not unchanged and is_rolled_out(self._space, before, of_revision(revision_of(before)))
            if not complete:
                earlier: dict[str, Any] | None = self._lock.record["earlier"]
                return earlier
        return as_manifest(before, self._manifest)

    def _try(self, manifest: dict[str, Any]) -> None:
        """Bring up the candidate, test it, and remove it."""
        self._undo.append(self._discard)
        self._apply(manifest)
        self._test(self._candidate, revision_of(manifest))
        # Before the service's own pods start: they may need its room on the node.
        self._remove_candidate(self._space.service(self._candidate))
        self._undo.pop()

    def _test(self, service: str, revision: str | None) -> Exchange:
        """Wait until all pods of a service are of a revision and ready, and test each."""
        exchanges = []
        for pod in wait_until_rolled_out(self._space, service, of_revision(revision), timeout=self._timeout):
            port, name = server_of(pod, service)
            exchanges.append(self._smoke_test.run(name, partial(self._space.ask, pod, port), self._protocols))
        return exchanges[-1]

    def _apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._lock.check()
        return self._space.apply(manifest)

    def _settled(self, name: str) -> dict[str, Any] | None:
        """Return a service; wait for one that is being deleted."""
        found = self._space.service(name)
        if found and found["metadata"].get("deletionTimestamp"):
            wait_until_gone(self._space, name, timeout=_GONE_SECONDS)
            return self._space.service(name)
        return found

    def _remove_candidate(self, found: dict[str, Any] | None) -> None:
        """Remove a candidate, left by this attempt or an earlier one, and wait until it is gone.

        Raises:
            ConfigurationError: A service that is no candidate of ours has its name.
        """
        if found is None:
            return
        if (found["metadata"].get("annotations") or {}).get(CANDIDATE_ANNOTATION) != self._name:
            raise ConfigurationError(
                f"InferenceService {self._place(self._candidate)} is not the candidate of {self._name}, and has its name; rename one of them"
            )
        self._lock.check()
        self._space.delete(self._candidate)
        wait_until_gone(self._space, self._candidate, timeout=_GONE_SECONDS)

    def _discard(self) -> str:
        self._space.delete(self._candidate)
        return f"Its candidate is removed, and {self._place(self._name)} was not touched."

    def _restore(self, earlier: dict[str, Any] | None) -> str:
        if earlier is None:
            self._space.delete(self._name)
            sentence = "There was no such service before: it is deleted again."
        else:
            self._space.apply(earlier)
            sentence = "The service's earlier specification is applied again."
        self._lock.write(None)
        return sentence

    def _undo_all(self) -> str:
        """Undo what was done, and return it in words. What cannot be undone stays on record for the next attempt."""
        if not self._undo:
            return f"Nothing was changed of {self._place(self._name)}."
        sentences = []
        for undo in reversed(self._undo):
            try:
                self._lock.check()
                sentences.append(undo())
            except (DeploymentError, StoreError) as error:
                sentences.append(f"This could not be undone; the next attempt will undo it: {error}")
        return " ".join(sentences)

    def _place(self, name: str) -> str:
        return f"{self._space.name}/{name}"


def _of_same_kind(error: IntermodalError) -> type[IntermodalError]:
    """Return the class to raise an error anew with more words: one whose constructor takes a text alone."""
    return next(each for each in (StoreError, ConfigurationError, DeploymentError, IntermodalError) if isinstance(error, each))
