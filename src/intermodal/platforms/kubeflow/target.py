"""Kubeflow Pipelines, through its own generated client (the one below `kfp.Client`, whose methods take no timeout)."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import kfp_server_api as api

from intermodal.compiler.specification import tasks_named
from intermodal.platforms.interface import FINAL, RemoteRun, RemoteSchedule, RemoteTask, Submission, TaskInputs, refuse_retry, task_inputs
from intermodal.platforms.kubeflow.client import TIMEOUT, KubeflowClient, MissingError, NoLogError, RefusedError
from intermodal.platforms.kubeflow.inputs import executor_input
from intermodal.platforms.kubeflow.requests import PAGE, filtered, note, pipeline_of
from intermodal.platforms.kubeflow.schedules import KubeflowSchedules
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.platforms.kubeflow.tasks import Log, Workflow, state_of, timestamp
from intermodal.platforms.kubeflow.uploads import KubeflowUploads
from intermodal.runner.runs import last_error
from intermodal.runtime.errors import PlatformError, nearest

# The second is where the backend's next version has them.
_LOGS = ("/apis/v1alpha1/runs/{run}/nodes/{pod}/log", "/apis/v2beta1/runs/{run}/nodes/{pod}/log")

_RETRIES = (
    "this installation's workflow controller sets templateDefaults.retryStrategy, which overrules the retries that the tasks ask for: a task that "
    'exits with an error is not tried again; docs/how-to/kubeflow.md, "Retries", says how to correct it'
)


class KubeflowTarget:
    """An installation of Kubeflow Pipelines. See `interface.RemoteTarget` for what each method does.

    The API knows no id that a client chooses, so a submission's key stands in the run's name: it is looked for before each attempt, the one
    after a lost answer included, and once more afterwards, when a second run that a stale read let through is ended and deleted.

    Args:
        settings: As `targets.toml` has them.
        pause: Seconds before the first retry; doubled each time, 10 at most.
        attempts: How often a request is made.
        sleep: Waits.
    """

    name = "kubeflow"

    def __init__(self, settings: KubeflowSettings, *, pause: float = 1.0, attempts: int = 6, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._client = KubeflowClient(settings, pause, attempts, sleep)
        self._schedules = KubeflowSchedules(self._client, settings, self._experiment)
        self._uploads = KubeflowUploads(self._client, settings)
        self._known = ""  # the experiment's id
        self._errors: dict[tuple[str, str], str] = {}  # (run, node) to the last error in its log, which does not change

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run, or return the one that the key already started."""
        experiment = self._experiment()
        body = api.V2beta1Run(
            experiment_id=experiment,
            display_name=f"{submission.name} [{submission.key}]",
            description=note(submission),
            pipeline_spec=pipeline_of(submission),
            runtime_config=api.V2beta1RuntimeConfig(parameters=submission.parameters, pipeline_root=self._settings.root),
            service_account=self._settings.service_account or None,
        )

        def once() -> Any:
            if found := self._keyed(submission.key):
                return found[0]
            return self._client.runs.run_service_create_run(body, _request_timeout=TIMEOUT)

        self._client.call(once)
        oldest, *newer = self._client.call(partial(self._keyed, submission.key), until=bool)
        for each in newer:
            self._discard(each.run_id)
        if oldest.description != body.description:
            raise PlatformError(
                f"the key {submission.key!r} already started {oldest.run_id} with another pipeline or other parameters; choose another --key"
            )
        return self._run(oldest)

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks; why a task failed is read from its log, where the API does not say it."""
        found = self._get(run_id)
        workflow = Workflow(found, self._settings.namespace)
        tasks = tuple(self._explained(run_id, workflow, each) for each in workflow.tasks)
        return replace(self._run(found), tasks=tasks, notes=(_RETRIES,) if workflow.retried and workflow.retries else ())

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs that this command submitted, without tasks."""
        ask = partial(
            self._client.runs.run_service_list_runs,
            experiment_id=self._experiment(),
            sort_by="created_at desc",
            page_size=min(limit, PAGE),
            _request_timeout=TIMEOUT,
        )
        return [self._run(each) for each in (self._client.call(ask).runs or [])[:limit]]

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task, line) of the tasks' pods, as far as the installation still has them."""
        workflow = Workflow(self._get(run_id), self._settings.namespace)
        if task and task not in [each.name for each in workflow.tasks]:
            raise PlatformError(f"{run_id}: there is no task {task!r} yet; `intermodal status {run_id} --target kubeflow` lists them")
        for log in workflow.logs(task):
            text, why = self._log(run_id, log)
            for line in [self._without_log(log, why)] if text is None else text.splitlines():
                yield log.task, line

    def cancel(self, run_id: str) -> RemoteRun:
        """End a run; one that has ended stays as it is."""
        if not (found := self.run(run_id)).over:
            with suppress(RefusedError):  # it ended meanwhile, by itself or by an attempt whose answer was lost
                self._client.call(partial(self._client.runs.run_service_terminate_run, run_id, _request_timeout=TIMEOUT))
            found = self.run(run_id)
        return found

    def upload(self, documents: list[dict[str, Any]], name: str, version: str) -> str:
        """Keep a compiled pipeline there as a version; see `KubeflowUploads.upload`."""
        return self._uploads.upload(documents, name, version)

    def retry(self, run_id: str) -> RemoteRun:
        """Let the run go on: its failed pods start again, what succeeded stays."""
        found = self._get(run_id)
        refuse_retry(self._run(found), self.name)
        changes = len(found.state_history or [])

        def once() -> Any:
            # Look before each attempt, the one whose answer was lost included.
            if self._run(self._client.runs.run_service_get_run(run_id, _request_timeout=TIMEOUT)).over:
                self._client.runs.run_service_retry_run(run_id, _request_timeout=TIMEOUT)
            return self._client.runs.run_service_get_run(run_id, _request_timeout=TIMEOUT)

        def goes_on(run: Any) -> bool:
            return not self._run(run).over or len(run.state_history or []) > changes

        try:
            self._client.call(once, until=goes_on)
        except PlatformError:
            if not goes_on(self._get(run_id)):  # else an attempt whose answer was lost was taken, and this one refused for it
                raise
        return self.run(run_id)

    def inputs(self, run_id: str, task: str) -> TaskInputs:
        """Return what a task was given, from the log of its driver or its own: the API has a field for it that the server leaves empty."""
        found = self._get(run_id)
        logs = Workflow(found, self._settings.namespace).input_logs(task.partition("[")[0])
        if task not in logs:
            why = nearest(task, logs) if logs else f"it has not started; `intermodal status {run_id} --target kubeflow` lists those that have"
            raise PlatformError(f"{run_id}: there is no task {task!r}; {why}")
        specification = self._specification(found)
        components = tasks_named(specification, task.partition("[")[0])
        if len(components) != 1:
            raise PlatformError(f"{run_id}: its specification has {len(components) or 'no'} components for the task {task!r}; replay another one")
        for log in logs[task]:
            text, _ = self._log(run_id, log)
            if text and (given := executor_input(text)):
                return task_inputs(task, specification, components[0], given, self._settings.storage_endpoint)
        raise PlatformError(
            f"{run_id}: what {task} was given is not known: Kubeflow's API does not say it, and neither the log of its driver nor its own is kept"
        )

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name."""
        return self._schedules.create(name, cron, time_zone, submission)

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules of the experiment."""
        return self._schedules.all()

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        return self._schedules.pause(name)

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Resume a schedule; it was created not to catch up."""
        return self._schedules.resume(name)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, refused while a run of it is active."""
        self._schedules.delete(name)

    def _keyed(self, key: str) -> list[Any]:
        """Return the runs of a key, the oldest first."""
        ask = partial(
            self._client.runs.run_service_list_runs,
            filter=filtered("IS_SUBSTRING", display_name=f"[{key}]"),
            page_size=PAGE,
            _request_timeout=TIMEOUT,
        )
        found = ask(experiment_id=self._experiment()).runs or []
        return sorted((each for each in found if each.display_name.endswith(f"[{key}]")), key=lambda each: (each.created_at, each.run_id))

    def _get(self, run_id: str) -> Any:
        try:
            return self._client.call(partial(self._client.runs.run_service_get_run, run_id, _request_timeout=TIMEOUT))
        except MissingError:
            raise PlatformError(f"{self._client.where}: there is no run {run_id!r}; `intermodal list --target kubeflow` names the newest") from None

    def _discard(self, run_id: str) -> None:
        with suppress(RefusedError, MissingError):
            self._client.call(partial(self._client.runs.run_service_terminate_run, run_id, _request_timeout=TIMEOUT))
        with suppress(MissingError):
            self._client.call(partial(self._client.runs.run_service_delete_run, run_id, _request_timeout=TIMEOUT))

    def _experiment(self) -> str:
        """Return the experiment's id; made if it is not there."""
        if self._known:
            return self._known
        settings = self._settings

        def once() -> str:
            service = self._client.experiments
            ask = {"namespace": settings.namespace} if settings.namespace else {}
            page = service.experiment_service_list_experiments(filter=filtered(display_name=settings.experiment), _request_timeout=TIMEOUT, **ask)
            if page.experiments:
                return str(page.experiments[0].experiment_id)
            body = api.V2beta1Experiment(display_name=settings.experiment, namespace=settings.namespace or None)
            return str(service.experiment_service_create_experiment(body, _request_timeout=TIMEOUT).experiment_id)

        self._known = self._client.call(once, taken=f"the experiment {settings.experiment!r}", remedy="choose another `experiment` in targets.toml")
        return self._known

    def _specification(self, run: Any) -> dict[str, Any]:
        """Return what a run was started with; of one from an uploaded version, that version."""
        whole: dict[str, Any] = run.pipeline_spec or {}
        if not whole and (source := run.pipeline_version_reference):
            whole = self._uploads.specification(source.pipeline_id, source.pipeline_version_id)
        specification: dict[str, Any] = whole.get("pipeline_spec", whole)
        return specification

    def _explained(self, run_id: str, workflow: Workflow, task: RemoteTask) -> RemoteTask:
        """Return a failed task with the last error in its log; of several of one name, a loop's, it is not known whose log is whose."""
        if task.state != "failed" or task.error or task.group or [each.name for each in workflow.tasks].count(task.name) > 1:
            return task
        logs = list(workflow.logs(task.name))
        known = (run_id, logs[-1].places[0]) if logs else ("", "")
        if logs and known not in self._errors:
            with suppress(PlatformError):  # a status without it is better than none
                text, _ = self._log(run_id, logs[-1], attempts=2)
                if text:
                    self._errors[known] = last_error(text.splitlines())
        return replace(task, error=self._errors.get(known, ""))

    def _log(self, run_id: str, log: Log, *, attempts: int | None = None) -> tuple[str | None, str]:
        """Return what is found in the first of a log's places that has one; where none has, why, in the backend's words."""
        why = ""
        for route in _LOGS:
            with suppress(MissingError):  # the route, not the pod
                for place in log.places:
                    try:
                        return self._client.log(route.format(run=run_id, pod=place), attempts=attempts), ""
                    except NoLogError as error:
                        why = why or str(error)
                break
        return None, why

    def _without_log(self, log: Log, why: str) -> str:
        if log.state not in FINAL and not self._settings.namespace:
            return (
                f"(no log yet: a single-user installation gives a task's log when its pod has ended; until then: kubectl logs {log.pod} -c main, "
                "in the namespace it runs in)"
            )
        if log.state not in FINAL:
            return f"(no log yet: the pod {log.pod} has not started, or says nothing)"
        return f"(no log is kept: the pod {log.pod} is gone or was never made{f'; Kubeflow says: {why[:300]}' if why else ''})"

    def _run(self, run: Any) -> RemoteRun:
        """Return a run without its tasks."""
        key = run.display_name.rpartition("[")[2].removesuffix("]") if run.display_name.endswith("]") else ""
        return RemoteRun(
            id=run.run_id,
            name=run.display_name.removesuffix(f"[{key}]").strip(),
            key=key,
            state=state_of(run),
            url=f"{self._settings.page}/#/runs/details/{run.run_id}",
            created=run.created_at,
            ended=timestamp(run.finished_at),
            error=(run.error.message or "") if run.error else "",
        )
