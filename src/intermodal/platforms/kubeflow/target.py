"""Kubeflow Pipelines, through its own generated client (the one below `kfp.Client`, whose methods take no timeout)."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import kfp_server_api as api
import yaml

from intermodal.compiler.specification import forbid_caching
from intermodal.configuration.targets import KubeflowSettings
from intermodal.platforms.cron import next_time, with_seconds, without_seconds
from intermodal.platforms.interface import FINAL, RemoteRun, RemoteSchedule, RemoteTask, Submission
from intermodal.platforms.kubeflow.client import TIMEOUT, KubeflowClient, MissingError, NoLogError, RefusedError
from intermodal.platforms.kubeflow.tasks import Log, Workflow, state_of, timestamp
from intermodal.runner.runs import last_error
from intermodal.runtime.errors import ConfigurationError, PlatformError, nearest

_PAGE = 100
_ACTIVE = ("PENDING", "RUNNING", "CANCELING", "PAUSED")
# The second is where the backend's next version has them.
_LOGS = ("/apis/v1alpha1/runs/{run}/nodes/{pod}/log", "/apis/v2beta1/runs/{run}/nodes/{pod}/log")

_RETRIES = (
    "this installation's workflow controller sets templateDefaults.retryStrategy, which overrules the retries that the tasks ask for: a task that "
    'exits with an error is not tried again; docs/how-to/kubeflow.md, "Retries", says how to set it right'
)


class KubeflowTarget:
    """An installation of Kubeflow Pipelines. See `remote.RemoteTarget` for what each method does.

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
        self._known = ""  # the experiment's id
        self._errors: dict[tuple[str, str], str] = {}  # (run, node) to the last error in its log, which does not change

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run, or return the one that the key already started."""
        experiment = self._experiment()
        body = api.V2beta1Run(
            experiment_id=experiment,
            display_name=f"{submission.name} [{submission.key}]",
            description=_note(submission),
            pipeline_spec=_pipeline(submission),
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
        """Return a run with its tasks; what the API does not tell of a failed one is read from its log."""
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
            page_size=min(limit, _PAGE),
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
        """Keep a compiled pipeline there as a version; the same again changes nothing.

        Args:
            documents: Of the compiled file: the specification, and the platform's if there is one.
            name: The pipeline's name.
            version: The version's.

        Returns:
            Where a browser shows it.

        Raises:
            PlatformError: The version exists with other content, or the installation refuses.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
            pipeline = self._client.call(partial(self._pipeline_of, name, str(path)), taken=f"the pipeline {name!r}", remedy="choose another --name")
            version_of = partial(self._version_of, pipeline, name, version, str(path))
            taken = f"the version {version!r} of {name!r}"
            kept = self._client.call(version_of, taken=taken, remedy="choose another --version", until=lambda found: found is not None)
        whole = {"pipeline_spec": documents[0]} | ({"platform_spec": documents[1]} if len(documents) > 1 else {})
        if kept.pipeline_spec not in ([whole] if len(documents) > 1 else [whole, documents[0]]):
            raise PlatformError(f"{self._client.where}: the version {version!r} of {name!r} exists with other content; choose another --version")
        return f"{self._settings.page}/#/pipelines/details/{pipeline}/version/{kept.pipeline_version_id}"

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name. Kubeflow keeps no time zone with a schedule: UTC alone is taken."""
        if time_zone not in ("UTC", "Etc/UTC"):
            raise ConfigurationError(
                f"--time-zone {time_zone!r}: Kubeflow Pipelines reads all schedules in UTC, or in one zone for the whole installation; "
                "give the hours in UTC"
            )
        cron = with_seconds(cron)
        experiment = self._experiment()
        body = api.V2beta1RecurringRun(
            experiment_id=experiment,
            display_name=name,
            description=_note(submission),
            pipeline_spec=_pipeline(submission),
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

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules of the experiment."""
        return [_schedule(each) for each in self._client.call(partial(self._named, None))]

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        found = self._schedule(name)
        self._client.call(
            partial(self._client.recurring_runs.recurring_run_service_disable_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
        )
        return _schedule(self._schedule(name))

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Resume a schedule; it was created not to catch up."""
        found = self._schedule(name)
        self._client.call(
            partial(self._client.recurring_runs.recurring_run_service_enable_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
        )
        return _schedule(self._schedule(name))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule, refused while a run of it is active.

        The installation's controller removes the workflows that the schedule started: what they do ends without a word, and their runs stay RUNNING.
        """
        found = self._schedule(name)
        self._refuse_active(name, found.recurring_run_id)
        if not (paused := found.status == "DISABLED"):
            self.pause_schedule(name)  # so that none starts between the look and the deletion
        try:
            self._refuse_active(name, found.recurring_run_id)
            with suppress(MissingError):  # an attempt whose answer was lost
                self._client.call(
                    partial(self._client.recurring_runs.recurring_run_service_delete_recurring_run, found.recurring_run_id, _request_timeout=TIMEOUT)
                )
        except PlatformError:
            if not paused:
                with suppress(PlatformError):  # it may be deleted after all; the first error says what went wrong
                    self.resume_schedule(name)
            raise

    def _refuse_active(self, name: str, recurring_run: str) -> None:
        for state in _ACTIVE:
            text = _filter(recurring_run_id=recurring_run, state=state)
            ask = partial(
                self._client.runs.run_service_list_runs, experiment_id=self._experiment(), filter=text, page_size=_PAGE, _request_timeout=TIMEOUT
            )
            if active := [each.run_id for each in self._client.call(ask).runs or []]:
                raise PlatformError(
                    f"{self._client.where}: the schedule {name!r} has active runs ({', '.join(active)}), which Kubeflow would kill with it and show "
                    "as RUNNING for ever; wait for them, or end each with `intermodal cancel RUN --target kubeflow`; `intermodal schedule pause "
                    f"{name} --target kubeflow` keeps new ones from starting"
                )

    # Runs and schedules by their names.

    def _keyed(self, key: str) -> list[Any]:
        """Return the runs that bear a key, the oldest first."""
        ask = partial(
            self._client.runs.run_service_list_runs,
            filter=_filter("IS_SUBSTRING", display_name=f"[{key}]"),
            page_size=_PAGE,
            _request_timeout=TIMEOUT,
        )
        found = ask(experiment_id=self._experiment()).runs or []
        return sorted((each for each in found if each.display_name.endswith(f"[{key}]")), key=lambda each: (each.created_at, each.run_id))

    def _named(self, name: str | None) -> list[Any]:
        """Return the schedules of a name, or all, the oldest first."""
        found: list[Any] = []
        token = ""
        while True:
            page = self._client.recurring_runs.recurring_run_service_list_recurring_runs(
                experiment_id=self._experiment(),
                page_size=_PAGE,
                page_token=token,
                **({"filter": _filter(display_name=name)} if name else {}),
                _request_timeout=TIMEOUT,
            )
            found += page.recurring_runs or []
            if not (token := page.next_page_token or ""):
                return sorted(found, key=lambda each: (each.created_at, each.recurring_run_id))

    def _schedule(self, name: str) -> Any:
        if found := self._client.call(partial(self._named, name)):
            return found[0]
        raise PlatformError(f"{self._client.where}: there is no schedule {name!r}; {nearest(name, [each.name for each in self.schedules()])}")

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
            page = service.experiment_service_list_experiments(filter=_filter(display_name=settings.experiment), _request_timeout=TIMEOUT, **ask)
            if page.experiments:
                return str(page.experiments[0].experiment_id)
            body = api.V2beta1Experiment(display_name=settings.experiment, namespace=settings.namespace or None)
            return str(service.experiment_service_create_experiment(body, _request_timeout=TIMEOUT).experiment_id)

        self._known = self._client.call(once, taken=f"the experiment {settings.experiment!r}", remedy="choose another `experiment` in targets.toml")
        return self._known

    def _pipeline_of(self, name: str, path: str) -> str:
        found = self._client.pipelines.pipeline_service_list_pipelines(filter=_filter(display_name=name), _request_timeout=TIMEOUT, **self._namespace)
        if found.pipelines:
            return str(found.pipelines[0].pipeline_id)
        return str(self._client.uploads.upload_pipeline(path, name=name, display_name=name, _request_timeout=TIMEOUT, **self._namespace).pipeline_id)

    def _version_of(self, pipeline: str, name: str, version: str, path: str) -> Any:
        ask = partial(
            self._client.pipelines.pipeline_service_list_pipeline_versions, pipeline, filter=_filter(display_name=version), _request_timeout=TIMEOUT
        )
        if not ask().pipeline_versions:
            self._client.uploads.upload_pipeline_version(path, name=version, display_name=version, pipelineid=pipeline, _request_timeout=TIMEOUT)
        return next(iter(ask().pipeline_versions or []), None)  # None: what was just written is not shown yet

    @property
    def _namespace(self) -> dict[str, str]:
        return {"namespace": self._settings.namespace} if self._settings.namespace else {}

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

    # The client.

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


def _pipeline(submission: Submission) -> dict[str, Any]:
    specification = forbid_caching(submission.specification) if submission.cached is False else submission.specification
    return {"pipeline_spec": specification, "platform_spec": submission.platform} if submission.platform else specification


def _note(submission: Submission) -> str:
    labels = "".join(f" {key}={value}" for key, value in sorted(submission.labels.items()))
    return f"intermodal {submission.digest}{labels}"


def _filter(operation: str = "EQUALS", **wanted: str) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, "stringValue": text} for key, text in wanted.items()]})


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
