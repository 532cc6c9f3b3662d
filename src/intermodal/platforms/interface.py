"""What every platform that takes compiled pipelines can do, and the plain records it answers with."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from intermodal.compiler.specification import Specification
from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.runtime.redaction import redacted

#: A run's or task's state, the same words on every platform.
State = Literal["pending", "running", "cancelling", "succeeded", "failed", "cancelled", "skipped", "cached", "paused", "unknown"]
#: States that a run does not leave.
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "skipped", "cached"})

_KEY = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class RemoteTask:
    """A task of a run.

    Attributes:
        name: As in the specification, nested ones included.
        state: See `State`.
        started: None before it starts.
        ended: None before it ends.
        error: Why it failed: the platform's words, or the last error in its log; else empty.
        reason: Why it waits, as far as the platform says, or where to look; else empty.
        group: Whether it is a condition, loop or nested pipeline: nothing of its own runs, its state is that of its tasks.
    """

    name: str
    state: State
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    reason: str = ""
    group: bool = False

    def seconds(self, now: datetime) -> float | None:
        """Return how long it has run, until now if it still runs; None before it starts."""
        return ((self.ended or now) - self.started).total_seconds() if self.started else None

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", redacted(self.error))


@dataclass(frozen=True)
class RemoteRun:
    """A run on a platform.

    Attributes:
        id: What `status`, `logs` and `cancel` take.
        name: For people.
        key: The submission's key; empty for a run that was not submitted by this command.
        state: See `State`.
        url: Where a browser shows it.
        created: When the platform took it.
        ended: None while it runs.
        error: The platform's words when it failed, else empty.
        tasks: In order of their start, as far as the platform tells.
        notes: What a person should know of the installation: a sentence each.
    """

    id: str
    name: str
    key: str
    state: State
    url: str
    created: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    tasks: tuple[RemoteTask, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", redacted(self.error))

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINAL


@dataclass(frozen=True)
class Artifact:
    """An input artifact of a task.

    Attributes:
        uri: Where it is.
        type: Its schema title, for instance `system.Dataset`.
        metadata: What the task that made it wrote beside it.
    """

    uri: str
    type: str = "system.Artifact"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskInputs:
    """What a task of a run was given, and what it runs: enough to run it again.

    Attributes:
        task: Its name; inside a loop with the iteration, `score[0]`.
        component: Its component's definition in the specification.
        container: Its container in the specification.
        parameters: Its parameters.
        artifacts: Its artifacts.
        storage_endpoint: Of the store that the artifacts are in, where that is neither AWS nor Google's; else None.
    """

    task: str
    component: dict[str, Any]
    container: dict[str, Any]
    parameters: dict[str, Any]
    artifacts: dict[str, Artifact]
    storage_endpoint: str | None = None


@dataclass(frozen=True)
class RemoteSchedule:
    """A schedule on a platform.

    Attributes:
        id: The platform's name of it.
        name: Ours; unique on the target.
        cron: Five fields: minute, hour, day of month, month, day of week. One that others made may be in the platform's own words.
        time_zone: An IANA name.
        paused: Whether it starts no runs.
        next_run: None when paused or not known.
    """

    id: str
    name: str
    cron: str
    time_zone: str
    paused: bool
    next_run: datetime | None = None


@dataclass(frozen=True)
class Submission:
    """All that a run is made from.

    Attributes:
        specification: Compiled for the target.
        parameters: Checked by `parameters.check_parameters`.
        name: For people; at most 128 characters.
        key: Makes the submission idempotent; see `submission_key`.
        cached: None leaves caching as compiled; False forbids it for every task. It cannot allow what a component's policy forbids.
        labels: Added to the target's own.
        platform: The second document of a file compiled for Kubeflow; empty: none.
        by_tag: Images that go by a tag; their tasks are not cached (`specification.forbid_caching_by_tag`).
        notes: What a person should know of it: a sentence each.
    """

    specification: Specification
    parameters: dict[str, Any]
    name: str
    key: str
    cached: bool | None = None
    labels: dict[str, str] = field(default_factory=dict)
    platform: dict[str, Any] = field(default_factory=dict)
    by_tag: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A hash of what is run: the specification, the platform's document, the parameters and whether caching is forbidden."""
        content = json.dumps([self.specification, self.platform, self.parameters, self.cached is False], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


class RemoteTarget(Protocol):
    """A platform that takes compiled pipelines.

    Every method raises `errors.PlatformError` (one sentence: what was refused or did not answer, where, and the remedy) and nothing else for
    what the platform or the way to it does wrong. Every request has a timeout; reads are retried on 429, 5xx and lost connections, writes only
    where the platform or the key makes a second one harmless.
    """

    name: str

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run, or return the run that the same key already started."""

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks."""

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs first, without tasks."""

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task name, line) of one task or of all."""

    def cancel(self, run_id: str) -> RemoteRun:
        """Ask the platform to end a run; one that has ended stays as it is."""

    def retry(self, run_id: str) -> RemoteRun:
        """Go on from what failed, by the platform's own means; refused for a run that succeeded or has not ended.

        Returns:
            The run that goes on: the same, or a new one where the platform starts one.
        """

    def inputs(self, run_id: str, task: str) -> TaskInputs:
        """Return what a task was given; a task that has not started, and what the platform does not keep, is an error."""

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule.

        The same name with the same content again changes nothing; with other content it is an error that says to delete it first.
        """

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules."""

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule; a paused one stays so."""

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Let a schedule start runs again, without catching up on those it missed."""

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, and never a run that it started: where the platform would end those, it is refused while any is active.

        One that is not there is an error that names the nearest.
        """


def task_inputs(task: str, specification: Specification, component: str, executor_input: dict[str, Any], endpoint: str | None = None) -> TaskInputs:
    """Return what a task was given, from its ExecutorInput.

    Args:
        task: Its name.
        specification: The run's.
        component: Its component's name there.
        executor_input: As the protobuf message `ExecutorInput` is in JSON.
        endpoint: See `TaskInputs.storage_endpoint`.

    Raises:
        PlatformError: It has no container, or takes a list of artifacts.
    """
    definition = specification["components"][component]
    executor = specification["deploymentSpec"]["executors"].get(definition.get("executorLabel", ""), {})
    if "container" not in executor:
        raise PlatformError(f"{task}: an importer, a condition, a loop or a nested pipeline runs no code of its own; name a task inside it")
    given = executor_input.get("inputs", {})
    artifacts = {name: each.get("artifacts") or [] for name, each in given.get("artifacts", {}).items()}
    if lists := [name for name in artifacts if definition["inputDefinitions"]["artifacts"].get(name, {}).get("isArtifactList")]:
        raise PlatformError(f"{task}: its input {lists[0]!r} is a list of artifacts, which `replay` cannot give it; run the whole pipeline here")
    return TaskInputs(
        task=task,
        component=definition,
        container=executor["container"],
        parameters=given.get("parameterValues", {}),
        artifacts={
            name: Artifact(each["uri"], each.get("type", {}).get("schemaTitle") or "system.Artifact", each.get("metadata", {}))
            for name, found in artifacts.items()
            for each in found[:1]
        },
        storage_endpoint=endpoint,
    )


def refuse_retry(run: RemoteRun, target: str) -> None:
    """Refuse to retry a run that has not ended, or that succeeded.

    Raises:
        PlatformError: It is such a run.
    """
    if not run.over:
        raise PlatformError(
            f"the run {run.id} has not ended: it is {run.state}; `intermodal status {run.id} --target {target}` shows it, "
            f"`intermodal cancel {run.id} --target {target}` ends it"
        )
    if run.state not in ("failed", "cancelled"):
        raise PlatformError(f"the run {run.id} {run.state}: there is nothing to retry; `intermodal submit` starts another")


def submission_key(key: str | None = None) -> str:
    """Return a key, random unless one is given.

    Raises:
        ConfigurationError: The key given is not lowercase letters, digits and hyphens, 63 at most.
    """
    if key is None:
        return secrets.token_hex(8)
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"--key {key!r}: a key is 1 to 63 lowercase letters, digits and hyphens, and starts and ends with a letter or digit")
    return key
