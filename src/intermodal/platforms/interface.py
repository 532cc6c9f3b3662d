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
from intermodal.runtime.errors import ConfigurationError
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
    """

    specification: Specification
    parameters: dict[str, Any]
    name: str
    key: str
    cached: bool | None = None
    labels: dict[str, str] = field(default_factory=dict)
    platform: dict[str, Any] = field(default_factory=dict)
    by_tag: tuple[str, ...] = ()

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
