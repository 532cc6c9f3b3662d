"""Schedules of Kubeflow Pipelines (its recurring runs), one a name: the installation itself would take any number."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import kfp_server_api as api

from intermodal.platforms.cron import next_time, with_seconds, without_seconds
from intermodal.platforms.interface import RemoteSchedule, Submission
from intermodal.platforms.kubeflow.client import TIMEOUT, KubeflowClient, MissingError
from intermodal.platforms.kubeflow.requests import PAGE, filtered, note, pipeline_of
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.runtime.errors import ConfigurationError, PlatformError, nearest

_ACTIVE = ("PENDING", "RUNNING", "CANCELING", "PAUSED")


class KubeflowSchedules:
    """The schedules of an experiment.

    Args:
        client: The way there.
        settings: The installation's.
        experiment: Returns the experiment's id.
    """

    def __init__(self, client: KubeflowClient, settings: KubeflowSettings, experiment: Callable[[], str]) -> None:
        self._client, self._settings, self._experiment = client, settings, experiment

    def create(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name. Kubeflow keeps no time zone with a schedule: only UTC is taken."""
        if time_zone not in ("UTC", "Etc/UTC"):
            raise ConfigurationError(
                f"--time-zone {time_zone!r}: Kubeflow Pipelines reads all schedules in UTC, or in one zone for the whole installation; "
                "give the hours in UTC"
            )
        cron = with_seconds(cron)
        body = api.V2beta1RecurringRun(
            experiment_id=self._experiment(),
            display_name=name,
            description=note(submission),
            pipeline_spec=pipeline_of(submission),
            runtime_config=api.V2beta1RuntimeConfig(parameters=submission.parameters, pipeline_root=self._settings.root),
            service_account=self._settings.service_account or None,
            max_concurrency="1",
            no_catchup=True,
            mode=api.RecurringRunMode.ENABLE,
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
        )

        def once() -> Any:
            if found := self._named(name):
                return found[0]
            return self._client.recurring_runs.recurring_run_service_create_recurring_run(body, _request_timeout=TIMEOUT)

        self._client.call(once)
        made, *newer = self._client.call(partial(self._named, name), until=bool)
        for each in newer:
            self._client.call(
                partial(self._client.recurring_runs.recurring_run_service_delete_recurring_run, each.recurring_run_id, _request_timeout=TIMEOUT)
            )
        if (made.description, _trigger(made)) != (body.description, cron):
            raise PlatformError(f"there is a schedule {name!r} with another cron, pipeline or parameters; `intermodal schedule delete {name}` first")
        return _schedule(made)

    def all(self) -> list[RemoteSchedule]:
        """Return all schedules of the experiment."""
        return [_schedule(each) for each in self._client.call(partial(self._named, None))]

    def pause(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        found = self._schedule(name)
        self._client.call(
            partial(self._client.recurring_runs.recurring_run_service_disable_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
        )
        return _schedule(self._schedule(name))

    def resume(self, name: str) -> RemoteSchedule:
        """Resume a schedule; it was created not to catch up."""
        found = self._schedule(name)
        self._client.call(
            partial(self._client.recurring_runs.recurring_run_service_enable_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
        )
        return _schedule(self._schedule(name))

    def delete(self, name: str) -> None:
        """Delete a schedule, refused while a run of it is active.

        The installation's controller removes the workflows that the schedule started: what they do ends without a word, and their runs stay RUNNING.
        """
        found = self._schedule(name)
        self._refuse_active(name, found.recurring_run_id)
        if not (paused := found.status == "DISABLED"):
            self.pause(name)  # so that none starts between the look and the deletion
        try:
            self._refuse_active(name, found.recurring_run_id)
            with suppress(MissingError):  # an attempt whose answer was lost
                self._client.call(
                    partial(self._client.recurring_runs.recurring_run_service_delete_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
                )
        except PlatformError:
            if not paused:
                with suppress(PlatformError):  # it may be deleted after all; the first error says what went wrong
                    self.resume(name)
            raise

    def _refuse_active(self, name: str, recurring_run: str) -> None:
        for state in _ACTIVE:
            text = filtered(recurring_run_id=recurring_run, state=state)
            ask = partial(
                self._client.runs.run_service_list_runs, experiment_id=self._experiment(), filter=text, page_size=PAGE, _request_timeout=TIMEOUT
            )
            if active := [each.run_id for each in self._client.call(ask).runs or []]:
                raise PlatformError(
                    f"{self._client.where}: the schedule {name!r} has active runs ({', '.join(active)}), which Kubeflow would kill with it and show "
                    "as RUNNING for ever; wait for them, or end each with `intermodal cancel RUN --target kubeflow`; `intermodal schedule pause "
                    f"{name} --target kubeflow` keeps new ones from starting"
                )

    def _named(self, name: str | None) -> list[Any]:
        """Return the schedules of a name, or all, the oldest first."""
        found: list[Any] = []
        token = ""
        while True:
            page = self._client.recurring_runs.recurring_run_service_list_recurring_runs(
                experiment_id=self._experiment(),
                page_size=PAGE,
                page_token=token,
                **({"filter": filtered(display_name=name)} if name else {}),
                _request_timeout=TIMEOUT,
            )
            found += page.recurring_runs or []
            if not (token := page.next_page_token or ""):
                return sorted(found, key=lambda each: (each.created_at, each.recurring_run_id))

    def _schedule(self, name: str) -> Any:
        if found := self._client.call(partial(self._named, name)):
            return found[0]
        raise PlatformError(f"{self._client.where}: there is no schedule {name!r}; {nearest(name, [each.name for each in self.all()])}")


def _trigger(recurring: Any) -> str:
    """Return what starts the runs: a cron expression, or an interval, which others may have set."""
    cron = recurring.trigger.cron_schedule if recurring.trigger else None
    if cron and cron.cron:
        return str(cron.cron)
    every = recurring.trigger.periodic_schedule if recurring.trigger else None
    return f"every {every.interval_second} s" if every and every.interval_second else "never"


def _schedule(recurring: Any) -> RemoteSchedule:
    cron, paused = without_seconds(_trigger(recurring)), recurring.status == "DISABLED"
    return RemoteSchedule(
        id=recurring.recurring_run_id,
        name=recurring.display_name,
        cron=cron,
        time_zone="UTC",
        paused=paused,
        next_run=None if paused else next_time(cron, datetime.now(UTC)),
    )
