"""Schedules of Vertex AI, one a name: the service itself would take any number."""

from contextlib import suppress
from functools import partial
from typing import Any

from google.api_core import exceptions as api
from google.cloud import aiplatform_v1 as aiplatform

from intermodal.platforms.interface import RemoteSchedule
from intermodal.platforms.vertex.client import TIMEOUT, VertexClient, timestamp, word
from intermodal.runtime.errors import ConfigurationError, PlatformError, nearest

#: Labels of a job, and of a schedule's template.
KEY, DIGEST = "intermodal-key", "intermodal-digest"


class VertexSchedules:
    """The schedules of a project and region.

    Args:
        client: The way there.
    """

    def __init__(self, client: VertexClient) -> None:
        self._client = client

    def create(self, name: str, cron: str, time_zone: str, job: Any) -> RemoteSchedule:
        """Create a schedule that starts `job`, or return the equal one that is there.

        Raises:
            ConfigurationError: The service does not take the name.
            PlatformError: There is another of that name; or a request failed.
        """
        if not 0 < len(name) <= 128 or '"' in name or "\\" in name:
            raise ConfigurationError(f"the schedule's name {name!r}: Vertex AI takes 1 to 128 characters, and no quotation mark or backslash here")
        wanted = aiplatform.Schedule(
            display_name=name,
            cron=f"TZ={time_zone} {cron}",
            max_concurrent_run_count=1,
            create_pipeline_job_request=aiplatform.CreatePipelineJobRequest(parent=self._client.parent, pipeline_job=job),
        )

        def once() -> Any:
            # Look before each attempt, the one whose answer was lost included.
            if found := self._named(name):
                return found[-1]
            return self._client.schedules.create_schedule(parent=self._client.parent, schedule=wanted, timeout=TIMEOUT, retry=None)

        made = self._client.call(once)
        first, *later = [*reversed(self._client.call(lambda: self._named(name)))] or [made]
        for each in later:
            # A stale read let a second one through. What others made under this name is not ours to delete.
            if _label(each, KEY) == job.labels[KEY]:
                self._delete(each)
        if (first.cron, _label(first, DIGEST)) != (wanted.cron, job.labels[DIGEST]):
            raise PlatformError(f"there is a schedule {name!r} with another cron, pipeline or parameters; `intermodal schedule delete {name}` first")
        return _schedule(first)

    def all(self) -> list[RemoteSchedule]:
        """Return all schedules, newest first."""
        return [_schedule(each) for each in self._client.call(lambda: self._named(None))]

    def pause(self, name: str) -> RemoteSchedule:
        """Pause a schedule; a paused one stays so."""
        return self._turn(name, "PAUSED", partial(self._client.schedules.pause_schedule, timeout=TIMEOUT, retry=None))

    def resume(self, name: str) -> RemoteSchedule:
        """Resume a schedule, without catching up; an active one stays so."""

        def resume(name: str) -> None:
            request = aiplatform.ResumeScheduleRequest(name=name, catch_up=False)
            self._client.schedules.resume_schedule(request=request, timeout=TIMEOUT, retry=None)

        return self._turn(name, "ACTIVE", resume)

    def delete(self, name: str) -> None:
        """Delete a schedule, and wait until it is gone."""
        self._delete(self._one(name))

    def _turn(self, name: str, state: str, change: Any) -> RemoteSchedule:
        found, refused = self._one(name), None
        try:
            self._client.call(lambda: change(name=found.name), acts_on=(api.BadRequest,))
        except api.BadRequest as error:  # "only a paused Schedule can be resumed": an attempt whose answer was lost may have done it
            refused = error
        found = self._one(name)
        if refused and word(found.state) != state:
            raise PlatformError(f"{self._client.parent}: Vertex AI refuses this: {refused.message}") from refused
        return _schedule(found)

    def _delete(self, schedule: Any) -> None:
        delete = partial(self._client.schedules.delete_schedule, name=schedule.name, timeout=TIMEOUT, retry=None)

        def gone() -> None:
            # Google's client would ask for the operation below /ui/, which its REST interface does not document.
            self._client.schedules.get_schedule(name=schedule.name, timeout=TIMEOUT, retry=None)
            raise api.ServiceUnavailable(f"{schedule.name} is still being deleted")

        with suppress(api.NotFound):  # gone; or an attempt whose answer was lost
            self._client.call(delete, acts_on=(api.NotFound,))
            self._client.call(gone, acts_on=(api.NotFound,))

    def _named(self, name: str | None) -> list[Any]:
        """Return the schedules of a name, or all, newest first."""
        request = {"parent": self._client.parent, "filter": f'display_name="{name}"' if name else ""}
        found = list(self._client.schedules.list_schedules(request=request, timeout=TIMEOUT, retry=self._client.retry))
        return sorted(found, key=lambda each: (each.create_time, each.name), reverse=True)

    def _one(self, name: str) -> Any:
        if '"' not in name and "\\" not in name and (found := self._client.call(lambda: self._named(name))):
            return found[-1]
        raise PlatformError(f"{self._client.parent}: there is no schedule {name!r}; {nearest(name, [each.name for each in self.all()])}")


def _label(schedule: Any, key: str) -> str | None:
    value: str | None = schedule.create_pipeline_job_request.pipeline_job.labels.get(key)
    return value


def _schedule(schedule: Any) -> RemoteSchedule:
    zone, _, cron = schedule.cron.rpartition("TZ=")[2].partition(" ") if "TZ=" in schedule.cron else ("UTC", "", schedule.cron)
    return RemoteSchedule(
        id=schedule.name,
        name=schedule.display_name,
        cron=cron,
        time_zone=zone,
        paused=word(schedule.state) == "PAUSED",
        next_run=timestamp(schedule.next_run_time) if word(schedule.state) == "ACTIVE" else None,
    )
