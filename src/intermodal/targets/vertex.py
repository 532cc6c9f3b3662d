"""Vertex AI Pipelines, through Google's own client."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import google.auth
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import aiplatform_v1 as aiplatform
from google.protobuf import json_format, struct_pb2
from requests.exceptions import RequestException

from intermodal.errors import ConfigurationError, PlatformError, nearest
from intermodal.targets.remote import RemoteRun, RemoteSchedule, RemoteTask, State, Submission
from intermodal.targets.settings import VertexSettings
from intermodal.targets.specification import forbid_caching
from intermodal.targets.staging import Staging

_KEY, _DIGEST = "intermodal-key", "intermodal-digest"
_TIMEOUT = 60.0
_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
_TRANSIENT = (api.TooManyRequests, api.InternalServerError, api.BadGateway, api.ServiceUnavailable, api.GatewayTimeout, RequestException)
_RUN_STATES: dict[str, State] = {
    "QUEUED": "pending",
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLING": "running",
    "CANCELLED": "cancelled",
    "PAUSED": "paused",
}
# SKIPPED is the service's word for a cache hit, NOT_TRIGGERED for a task whose condition was not met.
_TASK_STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "CANCEL_PENDING": "running",
    "CANCELLING": "running",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "skipped",
}

T = TypeVar("T")


class VertexTarget:
    """A project and region. See `remote.RemoteTarget` for what each method does.

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
        self._given = credentials
        self._parent = f"projects/{settings.project}/locations/{settings.region}"
        self._retry = Retry(predicate=_transient, initial=pause, maximum=10.0 if pause >= 1 else pause, timeout=patience)
        self._made: dict[type, Any] = {}

    def submit(self, submission: Submission) -> RemoteRun:
        """Start a run, or return the one that the key already started."""
        job = self._job(submission)
        identifier = f"{job.pipeline_spec['pipelineInfo']['name']}-{submission.key}"
        if not _JOB_ID.fullmatch(identifier):
            raise ConfigurationError(
                f"the job's id would be {identifier!r}: Vertex AI takes 128 lowercase letters, digits and hyphens at most; shorten --key"
            )
        self._writable()
        try:
            create = partial(self._pipelines.create_pipeline_job, parent=self._parent, pipeline_job=job, pipeline_job_id=identifier)
            made = self._call(partial(create, timeout=_TIMEOUT, retry=None), acts_on=(api.Conflict,))
        except api.Conflict:
            made = self._get(identifier)
            if made.labels.get(_DIGEST) != job.labels[_DIGEST]:
                raise PlatformError(
                    f"the key {submission.key!r} already started {identifier} with another pipeline or other parameters; choose another --key"
                ) from None
        return self._run(made)

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks."""
        return self._run(self._get(run_id))

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs that this command submitted, without tasks."""
        request = {"parent": self._parent, "filter": f"labels.{_KEY}:*", "order_by": "create_time desc", "page_size": min(limit, 100)}
        jobs: list[Any] = []
        for job in self._call(lambda: self._pipelines.list_pipeline_jobs(request=request, timeout=_TIMEOUT, retry=self._retry)):
            jobs.append(job)
            if len(jobs) == limit:
                break
        return [self._run(job, tasks=False) for job in jobs]

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task, line) as Cloud Logging has them, each task's in order."""
        details = [each for each in self._get(run_id).job_detail.task_details if task in (None, each.task_name)]
        if not details:
            raise PlatformError(
                f"{run_id}: there is no task {task!r} yet; `intermodal status {run_id}` lists them" if task else f"{run_id}: no task began yet"
            )
        for detail in details:
            container = detail.executor_detail.container_detail
            job = (container.main_job or detail.executor_detail.custom_job_detail.job).rpartition("/")[2]
            for entry in self._entries(job) if job else ():
                yield detail.task_name, entry

    def cancel(self, run_id: str) -> RemoteRun:
        """End a run; one that has ended stays as it is."""
        if not (found := self.run(run_id)).over:
            with suppress(api.BadRequest):  # it ended meanwhile, by itself or by an attempt whose answer was lost
                self._call(
                    partial(self._pipelines.cancel_pipeline_job, name=self._job_name(run_id), timeout=_TIMEOUT, retry=None), acts_on=(api.BadRequest,)
                )
            found = self.run(run_id)
        return found

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name."""
        job = self._job(submission)
        wanted = aiplatform.Schedule(
            display_name=name,
            cron=f"TZ={time_zone} {cron}",
            max_concurrent_run_count=1,
            create_pipeline_job_request=aiplatform.CreatePipelineJobRequest(parent=self._parent, pipeline_job=job),
        )
        self._writable()

        def once() -> Any:
            # The service would make a second of the same name: look before each attempt, the one whose answer was lost included.
            if found := self._named(name):
                return found[-1]
            return self._schedules.create_schedule(parent=self._parent, schedule=wanted, timeout=_TIMEOUT, retry=None)

        made = self._call(once)
        for newer in self._call(lambda: self._named(name))[:-1]:  # a stale read let a second one through
            self._call(partial(self._schedules.delete_schedule, name=newer.name, timeout=_TIMEOUT, retry=None))
        digest = made.create_pipeline_job_request.pipeline_job.labels.get(_DIGEST)
        if (made.cron, digest) != (wanted.cron, job.labels[_DIGEST]):
            raise PlatformError(f"there is a schedule {name!r} with another cron, pipeline or parameters; `intermodal schedule delete {name}` first")
        return _schedule(made)

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules."""
        return [_schedule(each) for each in self._call(lambda: self._named(None))]

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        found = self._schedule(name)
        self._call(lambda: self._schedules.pause_schedule(name=found.name, timeout=_TIMEOUT, retry=None))
        return _schedule(self._schedule(name))

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Resume a schedule, without catching up."""
        request = aiplatform.ResumeScheduleRequest(name=self._schedule(name).name, catch_up=False)
        self._call(lambda: self._schedules.resume_schedule(request=request, timeout=_TIMEOUT, retry=None))
        return _schedule(self._schedule(name))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        found = self._schedule(name)
        with suppress(api.NotFound):  # an attempt whose answer was lost
            self._call(partial(self._schedules.delete_schedule, name=found.name, timeout=_TIMEOUT, retry=None), acts_on=(api.NotFound,))

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
            labels={**settings.labels, **submission.labels, _KEY: submission.key, _DIGEST: submission.digest},
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
        try:
            return self._call(
                lambda: self._pipelines.get_pipeline_job(name=self._job_name(run_id), timeout=_TIMEOUT, retry=None), acts_on=(api.NotFound,)
            )
        except api.NotFound:
            raise PlatformError(f"{self._parent}: there is no run {run_id!r}; `intermodal list --target vertex` names the newest") from None

    def _job_name(self, run_id: str) -> str:
        return run_id if run_id.startswith("projects/") else f"{self._parent}/pipelineJobs/{run_id}"

    def _run(self, job: Any, *, tasks: bool = True) -> RemoteRun:
        identifier = job.name.rpartition("/")[2]
        settings = self._settings
        return RemoteRun(
            id=identifier,
            name=job.display_name,
            key=job.labels.get(_KEY, ""),
            state=_RUN_STATES.get(_word(job.state, "PIPELINE_STATE_"), "unknown"),
            url=f"https://console.cloud.google.com/vertex-ai/locations/{settings.region}/pipelines/runs/{identifier}?project={settings.project}",
            created=_moment(job.create_time),
            ended=_moment(job.end_time),
            error=job.error.message if job.error else "",
            tasks=tuple(_task(each) for each in job.job_detail.task_details if each.parent_task_id) if tasks and job.job_detail else (),
        )

    def _named(self, name: str | None) -> list[Any]:
        """Return the schedules of a name, or all, newest first."""
        request = {"parent": self._parent, "filter": f'display_name="{name}"' if name else ""}
        found = list(self._schedules.list_schedules(request=request, timeout=_TIMEOUT, retry=self._retry))
        return sorted(found, key=lambda each: (each.create_time, each.name), reverse=True)

    def _schedule(self, name: str) -> Any:
        if '"' not in name and (found := self._call(lambda: self._named(name))):
            return found[-1]
        raise PlatformError(f"{self._parent}: there is no schedule {name!r}; {nearest(name, [each.name for each in self.schedules()])}")

    def _entries(self, job: str) -> Iterator[str]:
        from google.cloud import logging as cloud_logging

        options = {"api_endpoint": self._settings.endpoint} if self._settings.endpoint else None
        client = cloud_logging.Client(project=self._settings.project, credentials=self._credentials(), _use_grpc=False, client_options=options)
        text = f'resource.type="ml_job" AND resource.labels.job_id="{job}"'
        for entry in self._call(lambda: list(client.list_entries(filter_=text, order_by=cloud_logging.ASCENDING, page_size=1000))):
            payload = entry.payload if isinstance(entry.payload, str) else (entry.payload or {}).get("message", "")
            yield from str(payload).splitlines()

    @property
    def _pipelines(self) -> Any:
        return self._client(aiplatform.PipelineServiceClient)

    @property
    def _schedules(self) -> Any:
        return self._client(aiplatform.ScheduleServiceClient)

    def _client(self, kind: Any) -> Any:
        if kind not in self._made:
            endpoint = self._settings.endpoint or f"{self._settings.region}-aiplatform.googleapis.com"
            self._made[kind] = kind(transport="rest", credentials=self._credentials(), client_options={"api_endpoint": endpoint})
        return self._made[kind]

    def _credentials(self) -> Any:
        if self._given:
            return self._given
        if urlsplit(self._settings.endpoint).hostname in ("127.0.0.1", "localhost", "::1"):
            return AnonymousCredentials()
        try:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except DefaultCredentialsError as error:
            raise PlatformError(
                f"{self._parent}: there are no Application Default Credentials ({error}); run `gcloud auth application-default login`, or set "
                "GOOGLE_APPLICATION_CREDENTIALS"
            ) from error
        return credentials

    def _call(self, request: Callable[[], T], *, acts_on: tuple[type[Exception], ...] = ()) -> T:
        """Ask, and again on what passes by itself; all that the caller does not act on becomes a sentence."""
        try:
            return self._retry(request)()
        except acts_on:
            raise
        except api.BadRequest as error:
            raise PlatformError(f"{self._parent}: Vertex AI refuses this: {error.message}") from error
        except api.Forbidden as error:
            raise PlatformError(f"{self._parent}: these credentials may not do this ({_first_line(error)}); ask for roles/aiplatform.user") from error
        except (api.GoogleAPIError, GoogleAuthError, RequestException) as error:
            if isinstance(error, api.Unauthorized | GoogleAuthError) and not _transient(error):
                raise PlatformError(
                    f"{self._parent}: the credentials are expired or revoked ({_first_line(error)}); "
                    "run `gcloud auth application-default login` again"
                ) from error
            raise PlatformError(
                f"{self._parent}: Vertex AI did not answer as it should ({_first_line(error)}); whether it took the request is not known: the "
                "same command with the same --key is safe to repeat"
            ) from error


def _transient(error: BaseException) -> bool:
    return isinstance(error, (*_TRANSIENT, TransportError)) or (isinstance(error, GoogleAuthError) and error.retryable)


def _task(detail: Any) -> RemoteTask:
    return RemoteTask(
        name=detail.task_name,
        state=_TASK_STATES.get(_word(detail.state, ""), "unknown"),
        started=_moment(detail.start_time),
        ended=_moment(detail.end_time),
        error=detail.error.message if detail.error else "",
    )


def _schedule(schedule: Any) -> RemoteSchedule:
    zone, _, cron = schedule.cron.rpartition("TZ=")[2].partition(" ") if "TZ=" in schedule.cron else ("UTC", "", schedule.cron)
    return RemoteSchedule(
        id=schedule.name,
        name=schedule.display_name,
        cron=cron,
        time_zone=zone,
        paused=_word(schedule.state, "") == "PAUSED",
        next_run=_moment(schedule.next_run_time) if _word(schedule.state, "") == "ACTIVE" else None,
    )


def _word(state: Any, prefix: str) -> str:
    return str(getattr(state, "name", state)).removeprefix(prefix)


def _moment(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value.timestamp(), value.tzinfo) if value else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
