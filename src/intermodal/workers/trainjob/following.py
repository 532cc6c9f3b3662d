"""A TrainJob, followed from its creation to its end."""

import time
from collections.abc import Callable
from typing import Any, Final

from intermodal.runtime.errors import PlatformError
from intermodal.workers.objects import UnreachableError
from intermodal.workers.trainjob import pods
from intermodal.workers.trainjob.api import Jobs, attempt_of, index_of
from intermodal.workers.trainjob.chief_log import ChiefLog
from intermodal.workers.trainjob.manifest import NODE

_POLL_SECONDS: Final = 1.0
#: Seconds for which the API server may be away.
_AWAY_SECONDS: Final = 600.0
#: Seconds until a controller that works has made pods.
_NO_PODS_SECONDS: Final = 30.0
_LAST_LINES: Final = 15


class JobFailedError(PlatformError):
    """The TrainJob ended badly; it is left where it is, to be looked at."""


class HopelessError(PlatformError):
    """The TrainJob cannot end well, or is not worth waiting for; it still runs."""


class Follower:
    """Follows one TrainJob, and never another one of its name.

    Args:
        jobs: The TrainJobs of the namespace.
        job: It, as the server returned it.
        workers: How many pods it has.
        start_timeout: Seconds for which pods may wait for images and machines; 0: no limit. The time in a queue does not count.
        say: Takes a line of the log.
        away: Seconds for which the API server may not answer. Default: ten minutes.
    """

    def __init__(
        self, jobs: Jobs, job: dict[str, Any], *, workers: int, start_timeout: float, say: Callable[[str], None], away: float = _AWAY_SECONDS
    ) -> None:
        self._jobs, self._workers, self._start_timeout, self._say = jobs, workers, start_timeout, say
        self._name, self._uid = job["metadata"]["name"], job["metadata"]["uid"]
        self._away = away
        self._created: str = job["metadata"]["creationTimestamp"]
        self._log = ChiefLog(jobs, NODE, say)
        self._attempt = 0
        self._said = ""
        self._since: dict[str, float] = {}
        self._obstacle = ""
        #: How pods ended that ended badly, by uid, in the order in which that was seen: (attempt, asked to end, words, last lines).
        self._endings: dict[str, tuple[int, bool, str, list[str]]] = {}

    def run(self) -> None:
        """Return when the TrainJob has ended well.

        Raises:
            JobFailedError: It ended badly, or was deleted.
            HopelessError: Its pods cannot start, or have not in time.
            UnreachableError: The API server was away for too long.
            DeniedError: The account may not follow it.
        """
        seen = waiting = time.monotonic()
        while True:
            try:
                job = self._jobs.find(self._name)
                # Pods of an older TrainJob of this name may still be ending.
                found = [pod for pod in self._jobs.pods(self._name) if pod["metadata"]["creationTimestamp"] >= self._created]
                seen = time.monotonic()
            except UnreachableError as error:
                if time.monotonic() - seen > self._away:
                    raise
                self._tell(f"the API server does not answer, trying again: {error}")
                time.sleep(_POLL_SECONDS)
                continue
            if job is None or job["metadata"]["uid"] != self._uid:
                raise JobFailedError(f"{self._what} was deleted while it ran; run the task again")
            if self._look(job, found):
                return
            if self._suspended(job) or self._all_started(found):
                waiting = time.monotonic()
            elif self._start_timeout and time.monotonic() - waiting > self._start_timeout:
                why = self._obstacle or (f"the newest warning: {warning}" if (warning := self._jobs.warnings(self._name)) else "no warning was found")
                raise HopelessError(f"{self._what}: not all of its {self._workers} pods have started after {self._start_timeout:g} s; {why}")
            elif not found and time.monotonic() - waiting > _NO_PODS_SECONDS and (warning := self._jobs.warnings(self._name)):
                self._tell(f"there are no pods yet: {warning}")
            time.sleep(_POLL_SECONDS)

    def _look(self, job: dict[str, Any], found: list[dict[str, Any]]) -> bool:
        """Look at the TrainJob and its pods once; return whether it has ended well."""
        for pod in found:
            if pods.ended_badly(pod) and pod["metadata"]["uid"] not in self._endings:
                self._note(pod)
        newest = _newest(found)
        if newest and attempt_of(newest[0]) > self._attempt:
            self._attempt = attempt_of(newest[0])
            self._say(f"all workers start again (attempt {self._attempt + 1}): {self._cause(self._attempt - 1)}")
        chief = next((pod for pod in newest if index_of(pod) == 0), None)
        if chief and pods.started(chief):
            self._log.follow(chief)
        conditions = {each["type"]: each for each in job.get("status", {}).get("conditions", []) if each["status"] == "True"}
        if "Complete" in conditions:
            self._log.end()
            return True
        if "Failed" in conditions:
            self._log.end()
            raise JobFailedError(self._failure(conditions["Failed"]))
        if self._suspended(job):
            self._tell(f"{self._what} is suspended: it waits in a queue (Kueue), or somebody suspended it; it starts when spec.suspend is false")
            return False
        self._check(newest)
        return False

    def _note(self, pod: dict[str, Any]) -> None:
        # The chief's log is said anyway.
        lines = self._jobs.last_lines(pod["metadata"]["name"], NODE, _LAST_LINES) if index_of(pod) else []
        asked = pods.was_asked_to_end(pod) and not pods.ran_out_of_memory(pod)
        self._endings[pod["metadata"]["uid"]] = (attempt_of(pod), asked, pods.ending(pod), lines)

    def _check(self, newest: list[dict[str, Any]]) -> None:
        """Fail where a pod cannot start, or where starting again is of no use.

        Raises:
            HopelessError: That is so.
        """
        if starved := next((pod for pod in newest if pods.ran_out_of_memory(pod)), None):
            self._log.end()
            raise HopelessError(f"{self._what}: {pods.ending(starved)}")
        found = [each for pod in newest if not pods.started(pod) and (each := pods.obstacle(pod))]
        for kind, sentence, seconds in found:
            since = self._since.setdefault(kind, time.monotonic())
            self._obstacle = sentence
            if time.monotonic() - since >= seconds:
                raise HopelessError(f"{self._what}: {sentence}")
            self._tell(sentence)
        # A pull that is tried again changes between two states.
        if not found and self._all_started(newest):
            self._since.clear()
            self._obstacle = ""

    def _cause(self, attempt: int) -> str:
        """Return why an attempt ended: the first worker that ended by itself."""
        found = [each for each in self._endings.values() if each[0] == attempt]
        own = [each for each in found if not each[1]] or found
        return own[0][2] if own else "a worker was lost, and its pod with it"

    def _failure(self, condition: dict[str, Any]) -> str:
        attempts = f" after {self._attempt + 1} attempts" if self._attempt else ""
        said = f"{self._what} failed{attempts} ({condition.get('reason')}: {condition.get('message')})"
        found = [each for each in self._endings.values() if each[0] == self._attempt] or list(self._endings.values())
        own = [each for each in found if not each[1]] or found
        if not own:
            return said
        lines = "\n".join(own[0][3])
        return f"{said}: {own[0][2]}" + (f"\nIts last lines:\n{lines}" if lines else "")

    def _all_started(self, found: list[dict[str, Any]]) -> bool:
        return sum(pods.started(pod) for pod in _newest(found)) >= self._workers

    def _suspended(self, job: dict[str, Any]) -> bool:
        return bool(job["spec"].get("suspend"))

    def _tell(self, sentence: str) -> None:
        """Say a sentence, unless it was the last that was said so."""
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)

    @property
    def _what(self) -> str:
        return f"TrainJob {self._jobs.namespace}/{self._name}"


def _newest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pod of each worker in the newest attempt: a runtime that restarts a Job's pods by themselves leaves those that failed."""
    newest: dict[int, dict[str, Any]] = {}
    for pod in found:
        if attempt_of(pod) == attempt_of(found[0]):
            newest.setdefault(index_of(pod), pod)
    return list(newest.values())
