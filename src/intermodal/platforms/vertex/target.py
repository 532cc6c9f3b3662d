"""Vertex AI Pipelines, through Google's own client."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from google.api_core import exceptions as api
from google.cloud import aiplatform_v1 as aiplatform
from google.protobuf import json_format, struct_pb2

from intermodal.compiler.specification import forbid_caching
from intermodal.platforms.interface import RemoteRun, RemoteSchedule, RemoteTask, State, Submission, TaskInputs, refuse_retry
from intermodal.platforms.vertex.client import TIMEOUT, VertexClient, timestamp, word
from intermodal.platforms.vertex.inputs import inputs
from intermodal.platforms.vertex.replicas import BILLING, CustomJobs
from intermodal.platforms.vertex.schedules import DIGEST, KEY, VertexSchedules
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runner.runs import last_error
from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.storage.staging import Staging

_READS = 4  # of what exists and is not seen
_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
_RETRY = re.compile(r"(.+)-retry-(\d+)")
# Members of a job that its retry has too.
_KEPT = ("display_name", "pipeline_spec", "runtime_config", "encryption_spec", "service_account", "network", "reserved_ip_ranges")
_RUN_STATES: dict[str, State] = {
    "QUEUED": "pending",
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "PAUSED": "paused",
}
# SKIPPED is the service's word for a cache hit, NOT_TRIGGERED for a task whose condition was not met.
_TASK_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "CANCEL_PENDING": "cancelling",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "skipped",
}


class VertexTarget:
    """A project and region. See `interface.RemoteTarget` for what each method does.

    A submission's key makes the job's id, so that the service itself refuses a second one; a label keeps the digest of what was submitted.
    Credentials are Application Default Credentials; an `endpoint` on loopback gets none.

    Args:
        settings: As `targets.toml` has them.
        pause: Seconds before the first retry; doubled each time, 10 at most.
        patience: Seconds for which a request is retried.
        credentials: Google credentials in the place of the default ones.
    """

    name = "vertex"

    def __init__(self, settings: VertexSettings, *, pause: float = 1.0, patience: float = 60.0, credentials: Any = None) -> None:
        self._settings = settings
        self._pause = pause
        self._errors: dict[str, str] = {}  # a custom job's number to the last error in its log
        self._client = VertexClient(settings, pause, patience, credentials)
        self._schedules = VertexSchedules(self._client)
        self._custom = CustomJobs(self._client, settings)

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run, or return the one that the key already started."""
        job = self._job(submission)
        identifier = f"{job.pipeline_spec['pipelineInfo']['name']}-{submission.key}"
        if not _JOB_ID.fullmatch(identifier):
            raise ConfigurationError(
                f"the job's id would be {identifier!r}: Vertex AI takes 128 lowercase letters, digits and hyphens at most; shorten --key"
            )
        self._writable()
        create = partial(self._client.pipelines.create_pipeline_job, parent=self._client.parent, pipeline_job=job, pipeline_job_id=identifier)
        try:
            made = self._client.call(partial(create, timeout=TIMEOUT, retry=None), acts_on=(api.Conflict,))
        except api.Conflict:
            made = self._existing(identifier)
            if made.labels.get(DIGEST) != job.labels[DIGEST]:
                raise PlatformError(
                    f"the key {submission.key!r} already started {identifier} with another pipeline or other parameters; choose another --key"
                ) from None
        return self._run(made)

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks; the service's own words about a failed one say only that it failed, so its log's last error is read."""
        job = self._get(run_id)
        # Iterations of a loop share a name: the last one that ran a container.
        details = {each.task_name: each for each in sorted(job.job_detail.task_details, key=lambda each: bool(_attempts(each)))}
        run = self._run(job)
        return replace(run, tasks=tuple(self._explained(each, details[each.name], job) for each in run.tasks))

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs that this command submitted, without tasks."""
        request = {"parent": self._client.parent, "filter": f"labels.{KEY}:*", "order_by": "create_time desc", "page_size": min(limit, 100)}
        retry = self._client.retry

        def newest() -> list[Any]:
            return list(islice(self._client.pipelines.list_pipeline_jobs(request=request, timeout=TIMEOUT, retry=retry), limit))

        return [self._run(job, tasks=False) for job in self._client.call(newest)]

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task, line) as Cloud Logging has them: each task's in order, its failed attempts first."""
        job = self._get(run_id)
        details = [each for each in job.job_detail.task_details if task in (None, each.task_name)]
        if not details:
            raise PlatformError(
                f"{run_id}: there is no task {task!r} yet; `intermodal status {run_id}` lists them" if task else f"{run_id}: no task began yet"
            )
        for detail in details:
            attempts, said = _attempts(detail), False
            custom = self._custom.of(detail.task_name, detail, job)
            if custom is not None:  # its machines' words, not the launcher's, which says every 20 seconds that it waits
                attempts = [custom.name.rpartition("/")[2]]
            for line in self._custom.lines(custom, job.create_time) if custom is not None else self._lines(attempts, job):
                said = True
                yield detail.task_name, line
            if not said and (attempts or task):
                yield detail.task_name, "(Cloud Logging has no lines of it yet)" if attempts else f"(no container ran for it: {_task(detail).state})"

    def cancel(self, run_id: str) -> RemoteRun:
        """End a run; one that has ended stays as it is."""
        if not (found := self.run(run_id)).over:
            cancel = partial(self._client.pipelines.cancel_pipeline_job, name=self._job_name(run_id), timeout=TIMEOUT, retry=None)
            with suppress(api.BadRequest):  # it ended meanwhile, by itself or by an attempt whose answer was lost
                self._client.call(cancel, acts_on=(api.BadRequest,))
            found = self.run(run_id)
        return found

    def retry(self, run_id: str) -> RemoteRun:
        """Start a run that takes over what succeeded in this one, Vertex AI's own rerun (in preview); its id is the run's with `-retry-1`.

        The same again is the same run. Which tasks are left out is the service's rule: those that succeeded.
        """
        from google.cloud import aiplatform_v1beta1 as preview

        job = self._get(run_id)
        refuse_retry(self._run(job, tasks=False), self.name)
        billing = job.labels.get(BILLING, "")
        if not billing.isdigit():
            raise PlatformError(f"{run_id}: Vertex AI gave it no label {BILLING!r}, by which a rerun names it; submit it again with another --key")
        match = _RETRY.fullmatch(job.name.rpartition("/")[2])
        identifier = f"{match[1]}-retry-{int(match[2]) + 1}" if match else f"{job.name.rpartition('/')[2]}-retry-1"
        if not _JOB_ID.fullmatch(identifier):
            raise PlatformError(
                f"{run_id}: the retry's id would be {identifier!r}, and Vertex AI takes 128 characters; submit it again with a short --key"
            )
        again = preview.PipelineJob(original_pipeline_job_id=int(billing))
        message, original = preview.PipelineJob.pb(again), aiplatform.PipelineJob.pb(job)
        kept = json_format.MessageToDict(original, preserving_proto_field_name=True)
        json_format.ParseDict({field: kept[field] for field in _KEPT if field in kept}, message)
        for key, value in job.labels.items():
            if key != BILLING:
                message.labels[key] = value
        create = partial(self._client.previews.create_pipeline_job, parent=self._client.parent, pipeline_job=again, pipeline_job_id=identifier)
        with suppress(api.Conflict):  # retried before, or an attempt whose answer was lost
            self._client.call(partial(create, timeout=TIMEOUT, retry=None), acts_on=(api.Conflict,))
        made = self._run(self._existing(identifier))
        if made.state in ("failed", "cancelled"):
            raise PlatformError(
                f"the run {run_id} was retried already, by {identifier} ({made.state}); `intermodal retry {identifier} --target vertex` retries that"
            )
        return made

    def inputs(self, run_id: str, task: str) -> TaskInputs:
        """Return what a task was given."""
        return inputs(self._get(run_id), task)

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name."""
        job = self._job(submission)
        self._writable()
        return self._schedules.create(name, cron, time_zone, job)

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules."""
        return self._schedules.all()

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        return self._schedules.pause(name)

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Resume a schedule, without catching up."""
        return self._schedules.resume(name)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._schedules.delete(name)

    def _job(self, submission: Submission) -> Any:
        if submission.platform:
            raise ConfigurationError("this file carries options of Kubernetes (a second document), which Vertex AI refuses; compile it for vertex")
        specification = forbid_caching(submission.specification) if submission.cached is False else submission.specification
        spec, values = struct_pb2.Struct(), {}
        spec.update(json.loads(json.dumps(specification)))
        for key, value in submission.parameters.items():
            values[key] = json_format.ParseDict(json.loads(json.dumps(value)), struct_pb2.Value())
        settings = self._settings
        job = aiplatform.PipelineJob(
            display_name=submission.name,
            labels={**settings.labels, **submission.labels, KEY: submission.key, DIGEST: submission.digest},
            runtime_config=aiplatform.PipelineJob.RuntimeConfig(
                gcs_output_directory=settings.root, failure_policy=aiplatform.PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST
            ),
            service_account=settings.service_account,
            network=settings.network,
        )
        if settings.encryption_key:
            job.encryption_spec = aiplatform.EncryptionSpec(kms_key_name=settings.encryption_key)
        message = aiplatform.PipelineJob.pb(job)
        message.pipeline_spec.CopyFrom(spec)
        for key, value in values.items():
            message.runtime_config.parameter_values[key].CopyFrom(value)
        return job

    def _writable(self) -> None:
        """See that the artifact root can be written before a job fails for it, an hour later."""
        Staging(self._settings.root).check()

    def _get(self, run_id: str) -> Any:
        get = partial(self._client.pipelines.get_pipeline_job, name=self._job_name(run_id), timeout=TIMEOUT, retry=None)
        try:
            return self._client.call(get, acts_on=(api.NotFound,))
        except api.NotFound:
            raise PlatformError(f"{self._client.parent}: there is no run {run_id!r}; `intermodal list --target vertex` names the newest") from None

    def _existing(self, identifier: str) -> Any:
        """Return a job that the service says exists, which a read may not see at once."""
        get = partial(self._client.pipelines.get_pipeline_job, name=self._job_name(identifier), timeout=TIMEOUT, retry=None)
        for attempt in range(_READS):
            with suppress(api.NotFound):
                return self._client.call(get, acts_on=(api.NotFound,))
            time.sleep(self._pause * 2**attempt)
        raise PlatformError(
            f"{self._client.parent}: the run {identifier!r} exists (409) and is not shown (404), as one that is being deleted: choose another --key"
        )

    def _lines(self, attempts: list[str], job: Any) -> Iterator[str]:
        for attempt in attempts:
            yield from (line for _, line in self._client.entries(attempt, job.create_time))

    def _explained(self, task: RemoteTask, detail: Any, job: Any) -> RemoteTask:
        """Return a task that has not ended well with more of why."""
        if task.group or task.state not in ("pending", "running", "failed"):
            return task
        custom = None
        with suppress(PlatformError):  # then as the pipeline has it
            custom = self._custom.of(task.name, detail, job)
        if custom is not None:
            return self._custom.described(task, custom, job.create_time)
        if task.state == "failed" and _attempts(detail):
            return replace(task, error=self._last_error(detail, job) or task.error)
        return task

    def _last_error(self, detail: Any, job: Any) -> str:
        """Return the last error in the log of a task's last attempt; empty without a log, or without the right to read it."""
        last = _attempts(detail)[-1]
        if last not in self._errors:
            self._errors[last] = ""  # asked once: whoever follows a run would wait for it each time
            with suppress(PlatformError):
                self._errors[last] = last_error(list(self._lines([last], job)))
        return self._errors[last]

    def _job_name(self, run_id: str) -> str:
        return run_id if run_id.startswith("projects/") else f"{self._client.parent}/pipelineJobs/{run_id}"

    def _run(self, job: Any, *, tasks: bool = True) -> RemoteRun:
        identifier = job.name.rpartition("/")[2]
        settings = self._settings
        return RemoteRun(
            id=identifier,
            name=job.display_name,
            key=job.labels.get(KEY, ""),
            state=_RUN_STATES.get(word(job.state, "PIPELINE_STATE_"), "unknown"),
            url=f"https://console.cloud.google.com/vertex-ai/locations/{settings.region}/pipelines/runs/{identifier}?project={settings.project}",
            created=timestamp(job.create_time),
            ended=timestamp(job.end_time),
            error=job.error.message if job.error else "",
            tasks=_tasks(job.job_detail.task_details) if tasks else (),
        )


def _tasks(details: Any) -> tuple[RemoteTask, ...]:
    """Return the tasks in order of their start; the one without a parent is the run itself."""
    parents = {each.parent_task_id for each in details}
    tasks = [replace(_task(each), group=each.task_id in parents) for each in details if each.parent_task_id]
    return tuple(sorted(tasks, key=lambda task: (task.started is None, task.started.timestamp() if task.started else 0.0)))


def _attempts(detail: Any) -> list[str]:
    """Return the numbers of the custom jobs that ran a task's container, in their order."""
    container, custom = detail.executor_detail.container_detail, detail.executor_detail.custom_job_detail
    names = [*container.failed_main_jobs, container.main_job, *custom.failed_jobs, custom.job]
    return list(dict.fromkeys(name.rpartition("/")[2] for name in names if name))


def _task(detail: Any) -> RemoteTask:
    state = _TASK_STATES.get(word(detail.state), "unknown")
    # What hinders a task that has not ended, a quota for instance, is said with its state.
    last = detail.pipeline_task_status[-1] if detail.pipeline_task_status else None
    return RemoteTask(
        name=detail.task_name,
        state=state,
        started=timestamp(detail.start_time),
        ended=timestamp(detail.end_time),
        error=detail.error.message if detail.error else "",
        reason=last.error.message if last and last.error and state in ("pending", "running") else "",
    )
