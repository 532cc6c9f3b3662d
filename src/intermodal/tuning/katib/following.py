"""An Experiment, followed from its creation to its end."""

import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from intermodal.runtime.errors import DataError
from intermodal.tuning.katib.api import Experiments
from intermodal.tuning.roles import FAILED, FINISHED, INTERRUPTED, PRUNED, Plan, Tried
from intermodal.tuning.trial import Report
from intermodal.workers.objects import UnreachableError
from intermodal.workers.trainjob import pods
from intermodal.workers.trainjob.following import HopelessError, JobFailedError

_POLL_SECONDS: Final = 1.0
#: Seconds for which the API server may be away.
_AWAY_SECONDS: Final = 600.0
#: Seconds until a controller that works has begun with an Experiment.
_NOT_BEGUN_SECONDS: Final = 60.0
#: Conditions in which a Trial has ended, and what we call them.
_ENDED: Final = {"Succeeded": FINISHED, "EarlyStopped": PRUNED, "Failed": FAILED, "MetricsUnavailable": FAILED, "Killed": INTERRUPTED}
_COLLECTOR: Final = "metrics-logger-and-collector"


class Follower:
    """Follows one Experiment, and never another one of its name.

    Args:
        experiments: Those of the namespace.
        experiment: It, as the server returned it.
        plan: Its search.
        report: Takes a trial's name, and returns what the trial left in the object store, or None.
        start_timeout: Seconds for which a trial's pod may wait for its image and a machine; 0: no limit.
        say: Takes a line of the log.
        away: Seconds for which the API server may not answer. Default: ten minutes.
    """

    def __init__(
        self,
        experiments: Experiments,
        experiment: dict[str, Any],
        plan: Plan,
        report: Callable[[str], Report | None],
        *,
        start_timeout: float,
        say: Callable[[str], None],
        away: float = _AWAY_SECONDS,
    ) -> None:
        self._experiments, self._plan, self._report, self._start_timeout, self._say = experiments, plan, report, start_timeout, say
        self._name, self._uid = experiment["metadata"]["name"], experiment["metadata"]["uid"]
        self._away = away
        self._numbers: dict[str, int] = {}
        self._tried: dict[str, Tried] = {}
        self._since: dict[str, float] = {}
        self._said = ""
        self._limited = False

    def run(self) -> list[Tried]:
        """Return the trials when the Experiment has ended, well or because all of them failed.

        Raises:
            JobFailedError: It ended otherwise, or was deleted.
            HopelessError: Trials cannot start, or have not in time; or Katib cannot read what they say.
            DataError: A trial found data that no other could train on.
            UnreachableError: The API server was away for too long.
            DeniedError: The account may not follow it.
        """
        began = seen = waiting = time.monotonic()
        while True:
            try:
                experiment = self._experiments.find(self._name)
                trials = self._experiments.trials(self._name, self._uid) if experiment else []
                found = self._experiments.pods(self._name)
                seen = time.monotonic()
            except UnreachableError as error:
                if time.monotonic() - seen > self._away:
                    raise
                self._tell(f"the API server does not answer, trying again: {error}")
                time.sleep(_POLL_SECONDS)
                continue
            if experiment is None or experiment["metadata"]["uid"] != self._uid:
                raise JobFailedError(f"{self._what} was deleted while it ran; run the task again")
            self._look(trials, found)
            status = experiment.get("status", {})
            conditions = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
            if {"Succeeded", "Failed"} & set(conditions):
                if len(self._tried) == len(trials):
                    return self._ended(conditions)
            else:
                self._limit(status, time.monotonic() - began)
                if self._under_way(trials, found):
                    waiting = time.monotonic()
                else:
                    self._wait(conditions, found, time.monotonic() - waiting)
            time.sleep(_POLL_SECONDS)

    def _look(self, trials: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
        """Say which trials begin and how others ended."""
        for trial in trials:
            name = trial["metadata"]["name"]
            if name not in self._numbers:
                self._numbers[name] = len(self._numbers)
                self._say(f"trial {self._numbers[name]} begins: {_written(_values(trial))}")
            states = {each["type"] for each in trial.get("status", {}).get("conditions", []) if each["status"] == "True"}
            state = next((each for each in _ENDED if each in states), None)
            if state and name not in self._tried:
                pod = next((each for each in found if each["metadata"].get("labels", {}).get("job-name") == name), None)
                self._note(trial, state, pod)

    def _note(self, trial: dict[str, Any], state: str, pod: dict[str, Any] | None) -> None:
        name = trial["metadata"]["name"]
        report = self._report(name) or Report()
        observed = {each["name"]: each for each in trial.get("status", {}).get("observation", {}).get("metrics", [])}
        value = _number(observed.get(self._plan.metric, {}).get("latest"))
        reason = ""
        if _ENDED[state] == FAILED:
            value = None
            reason = report.reason or (pods.ending(pod) if pod and pods.ended_badly(pod) else "")
            if not reason and state == "MetricsUnavailable":
                reason = f"it ended, and Katib has no {self._plan.metric} of it"
            reason = reason or _message(trial, state)
        if report.hopeless:
            raise DataError(report.reason.partition("DataError: ")[2])
        tried = Tried(self._numbers[name], _values(trial), _ENDED[state], value, report.epochs, report.seconds or _seconds(trial), reason)
        self._tried[name] = tried
        how = {
            FINISHED: f"{self._plan.metric} {value if value is None else format(value, '.6g')} after {tried.epochs} epochs",
            PRUNED: f"ended early after {tried.epochs} epochs",
            FAILED: f"failed: {reason}",
            INTERRUPTED: "was killed",
        }[tried.state]
        self._say(f"trial {tried.number}: {how}, {tried.seconds:.1f} s; {_written(tried.parameters)}")

    def _ended(self, conditions: dict[str, Any]) -> list[Tried]:
        tried = sorted(self._tried.values(), key=lambda each: each.number)
        if "Failed" in conditions and not (tried and all(each.state == FAILED for each in tried)):
            condition = conditions["Failed"]
            raise JobFailedError(f"{self._what} failed ({condition.get('reason')}: {condition.get('message')}) after {len(tried)} trials")
        return tried

    def _limit(self, status: dict[str, Any], seconds: float) -> None:
        """Let no more trials begin when the time is over; Katib takes no number below the next."""
        begun = int(status.get("trials", 0))
        if self._plan.timeout and seconds > self._plan.timeout and not self._limited and 0 < begun < self._plan.trials - 1:
            self._limited = True
            self._say(f"the search's {self._plan.timeout:g} s are over: trials that have begun are finished, and one more at most begins")
            self._experiments.limit(self._name, self._uid, begun + 1)

    def _under_way(self, trials: list[dict[str, Any]], found: list[dict[str, Any]]) -> bool:
        """Return whether nothing has to be waited for; fail where a trial cannot start, or Katib cannot hear it.

        Raises:
            HopelessError: That is so.
        """
        open_trials = [each["metadata"]["name"] for each in trials if each["metadata"]["name"] not in self._tried]
        ours = {name: [pod for pod in found if pod["metadata"].get("labels", {}).get("job-name") == name] for name in open_trials}
        for pod in (pod for each in ours.values() for pod in each):
            if _COLLECTOR not in {each["name"] for each in pod["spec"]["containers"]}:
                label = f"kubectl label namespace {self._experiments.namespace} katib.kubeflow.org/metrics-collector-injection=enabled"
                why = "so it would learn no number of any trial"
                raise HopelessError(f"{self._what}: Katib put no metrics collector into pod {pod['metadata']['name']}, {why}; {label}")
            if not pods.started(pod) and (obstacle := pods.obstacle(pod)):
                kind, sentence, seconds = obstacle
                since = self._since.setdefault(f"{pod['metadata']['uid']} {kind}", time.monotonic())
                self._tell(sentence)
                if time.monotonic() - since >= seconds:
                    raise HopelessError(f"{self._what}: {sentence}")
        return bool(ours) and any(pods.started(pod) for each in ours.values() for pod in each)

    def _wait(self, conditions: dict[str, Any], found: list[dict[str, Any]], seconds: float) -> None:
        """Say why no trial runs, and fail when that lasts too long.

        Raises:
            HopelessError: It does.
        """
        if not conditions and seconds > _NOT_BEGUN_SECONDS:
            raise HopelessError(
                f"{self._what}: Katib's controller has not taken it after {seconds:.0f} s; is it running (deployment katib-controller)?"
            )
        warning = self._experiments.warnings(self._name) if seconds > _NOT_BEGUN_SECONDS / 2 else ""
        if warning:
            self._tell(f"no trial runs: {warning}")
        if self._start_timeout and seconds > self._start_timeout:
            why = self._said if any(not pods.started(pod) for pod in found) else ""
            raise HopelessError(f"{self._what}: no trial has started for {self._start_timeout:g} s; {why or warning or 'no warning was found'}")

    def _tell(self, sentence: str) -> None:
        """Say a sentence, unless it was the last that was said so."""
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)

    @property
    def _what(self) -> str:
        return f"Experiment {self._experiments.namespace}/{self._name}"


def _values(trial: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: str(each["value"]) for each in trial["spec"].get("parameterAssignments", [])}


def _written(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds(trial: dict[str, Any]) -> float:
    status = trial.get("status", {})
    if not (status.get("startTime") and status.get("completionTime")):
        return 0.0
    return (datetime.fromisoformat(status["completionTime"]) - datetime.fromisoformat(status["startTime"])).total_seconds()


def _message(trial: dict[str, Any], state: str) -> str:
    found: dict[str, Any] = next((each for each in trial["status"]["conditions"] if each["type"] == state), {})
    return str(found.get("message") or found.get("reason") or "Katib does not say why")
