"""Kubeflow Pipelines, through its own generated client (the one below `kfp.Client`, whose methods take no timeout)."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import kfp_server_api as api
import yaml
from urllib3.exceptions import HTTPError

from intermodal.errors import ConfigurationError, PlatformError, nearest
from intermodal.targets.kubeflow_tasks import moment, pods_of, state_of, task_details, tasks_of
from intermodal.targets.remote import RemoteRun, RemoteSchedule, Submission
from intermodal.targets.settings import KubeflowSettings, TokenSource
from intermodal.targets.specification import forbid_caching

_TIMEOUT = 60
_PAGE = 100
_IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
_TRANSIENT = (429, 500, 502, 503, 504)
# The generated client lacks the route of the logs. The second is where the backend's next version has them.
_LOGS = ("/apis/v1alpha1/runs/{run}/nodes/{pod}/log", "/apis/v2beta1/runs/{run}/nodes/{pod}/log")

T = TypeVar("T")


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
        self._pause, self._attempts, self._sleep = pause, attempts, sleep
        self._opened: Any = None
        self._known = ""  # the experiment's id

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
            return self._runs.run_service_create_run(body, _request_timeout=_TIMEOUT)

        self._call(once)
        oldest, *newer = self._call(partial(self._keyed, submission.key), until=bool)
        for each in newer:
            self._discard(each.run_id)
        if oldest.description != body.description:
            raise PlatformError(
                f"the key {submission.key!r} already started {oldest.run_id} with another pipeline or other parameters; choose another --key"
            )
        return self._run(oldest)

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks."""
        return self._run(self._get(run_id))

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs that this command submitted, without tasks."""
        ask = partial(
            self._runs.run_service_list_runs,
            experiment_id=self._experiment(),
            sort_by="created_at desc",
            page_size=min(limit, _PAGE),
            _request_timeout=_TIMEOUT,
        )
        return [self._run(each, tasks=False) for each in (self._call(ask).runs or [])[:limit]]

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task, line) of the tasks' pods, as far as the installation still has them."""
        run = self._get(run_id)
        if task and task not in [each.display_name for each in task_details(run)]:
            raise PlatformError(f"{run_id}: there is no task {task!r} yet; `intermodal status {run_id}` lists them")
        for name, pods in pods_of(run, task):
            for line in self._log(run_id, pods).splitlines():
                yield name, line

    def cancel(self, run_id: str) -> RemoteRun:
        """End a run; one that has ended stays as it is."""
        if not (found := self.run(run_id)).over:
            with suppress(_RefusedError):  # it ended meanwhile, by itself or by an attempt whose answer was lost
                self._call(partial(self._runs.run_service_terminate_run, run_id, _request_timeout=_TIMEOUT))
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
            pipeline = self._call(partial(self._pipeline_of, name, str(path)))
            kept = self._call(partial(self._version_of, pipeline, name, version, str(path)))
        whole = {"pipeline_spec": documents[0]} | ({"platform_spec": documents[1]} if len(documents) > 1 else {})
        if kept.pipeline_spec not in ([whole] if len(documents) > 1 else [whole, documents[0]]):
            raise PlatformError(f"{self._where}: the version {version!r} of {name!r} exists with other content; choose another --version")
        return f"{self._settings.endpoint.rstrip('/')}/#/pipelines/details/{pipeline}/version/{kept.pipeline_version_id}"

    def create_schedule(self, name: str, cron: str, time_zone: str, submission: Submission) -> RemoteSchedule:
        """Create a schedule, once a name. Kubeflow keeps no time zone with a schedule: UTC alone is taken."""
        if time_zone not in ("UTC", "Etc/UTC"):
            raise ConfigurationError(
                f"--time-zone {time_zone!r}: Kubeflow Pipelines reads all schedules in UTC, or in one zone for the whole installation; "
                "give the hours in UTC"
            )
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
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=f"0 {cron}")),
        )

        def once() -> Any:
            if found := self._named(name):
                return found[0]
            return self._recurring.recurring_run_service_create_recurring_run(body, _request_timeout=_TIMEOUT)

        self._call(once)
        made, *newer = self._call(partial(self._named, name), until=bool)
        for each in newer:
            self._call(partial(self._recurring.recurring_run_service_delete_recurring_run, each.recurring_run_id, _request_timeout=_TIMEOUT))
        if (made.description, made.trigger.cron_schedule.cron) != (body.description, f"0 {cron}"):
            raise PlatformError(f"there is a schedule {name!r} with another cron, pipeline or parameters; `intermodal schedule delete {name}` first")
        return _schedule(made)

    def schedules(self) -> list[RemoteSchedule]:
        """Return all schedules of the experiment."""
        return [_schedule(each) for each in self._call(partial(self._named, None))]

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Pause a schedule."""
        found = self._schedule(name)
        self._call(partial(self._recurring.recurring_run_service_disable_recurring_run, found.recurring_run_id, _request_timeout=_TIMEOUT))
        return _schedule(self._schedule(name))

    def resume_schedule(self, name: str) -> RemoteSchedule:
        """Resume a schedule; it was created not to catch up."""
        found = self._schedule(name)
        self._call(partial(self._recurring.recurring_run_service_enable_recurring_run, found.recurring_run_id, _request_timeout=_TIMEOUT))
        return _schedule(self._schedule(name))

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule. The installation's controller also removes the workflows it started."""
        found = self._schedule(name)
        with suppress(_MissingError):  # an attempt whose answer was lost
            self._call(partial(self._recurring.recurring_run_service_delete_recurring_run, found.recurring_run_id, _request_timeout=_TIMEOUT))

    # Runs and schedules by their names.

    def _keyed(self, key: str) -> list[Any]:
        """Return the runs that bear a key, the oldest first."""
        ask = partial(self._runs.run_service_list_runs, filter=_filter("IS_SUBSTRING", f"[{key}]"), page_size=_PAGE, _request_timeout=_TIMEOUT)
        found = ask(experiment_id=self._experiment()).runs or []
        return sorted((each for each in found if each.display_name.endswith(f"[{key}]")), key=lambda each: (each.created_at, each.run_id))

    def _named(self, name: str | None) -> list[Any]:
        """Return the schedules of a name, or all, the oldest first."""
        found: list[Any] = []
        token = ""
        while True:
            page = self._recurring.recurring_run_service_list_recurring_runs(
                experiment_id=self._experiment(),
                page_size=_PAGE,
                page_token=token,
                **({"filter": _filter("EQUALS", name)} if name else {}),
                _request_timeout=_TIMEOUT,
            )
            found += page.recurring_runs or []
            if not (token := page.next_page_token or ""):
                return sorted(found, key=lambda each: (each.created_at, each.recurring_run_id))

    def _schedule(self, name: str) -> Any:
        if found := self._call(partial(self._named, name)):
            return found[0]
        raise PlatformError(f"{self._where}: there is no schedule {name!r}; {nearest(name, [each.name for each in self.schedules()])}")

    def _get(self, run_id: str) -> Any:
        try:
            return self._call(partial(self._runs.run_service_get_run, run_id, _request_timeout=_TIMEOUT))
        except _MissingError:
            raise PlatformError(f"{self._where}: there is no run {run_id!r}; `intermodal list --target kubeflow` names the newest") from None

    def _discard(self, run_id: str) -> None:
        with suppress(_RefusedError, _MissingError):
            self._call(partial(self._runs.run_service_terminate_run, run_id, _request_timeout=_TIMEOUT))
        with suppress(_MissingError):
            self._call(partial(self._runs.run_service_delete_run, run_id, _request_timeout=_TIMEOUT))

    def _experiment(self) -> str:
        """Return the experiment's id; made if it is not there."""
        if self._known:
            return self._known
        settings = self._settings

        def once() -> str:
            service = api.ExperimentServiceApi(self._client)
            ask = {"namespace": settings.namespace} if settings.namespace else {}
            page = service.experiment_service_list_experiments(filter=_filter("EQUALS", settings.experiment), _request_timeout=_TIMEOUT, **ask)
            if page.experiments:
                return str(page.experiments[0].experiment_id)
            body = api.V2beta1Experiment(display_name=settings.experiment, namespace=settings.namespace or None)
            return str(service.experiment_service_create_experiment(body, _request_timeout=_TIMEOUT).experiment_id)

        self._known = self._call(once, again=(409,))
        return self._known

    def _pipeline_of(self, name: str, path: str) -> str:
        found = self._pipelines.pipeline_service_list_pipelines(filter=_filter("EQUALS", name), _request_timeout=_TIMEOUT, **self._namespace)
        if found.pipelines:
            return str(found.pipelines[0].pipeline_id)
        return str(self._uploads.upload_pipeline(path, name=name, display_name=name, _request_timeout=_TIMEOUT, **self._namespace).pipeline_id)

    def _version_of(self, pipeline: str, name: str, version: str, path: str) -> Any:
        ask = partial(self._pipelines.pipeline_service_list_pipeline_versions, pipeline, filter=_filter("EQUALS", version), _request_timeout=_TIMEOUT)
        if not ask().pipeline_versions:
            self._uploads.upload_pipeline_version(path, name=version, display_name=version, pipelineid=pipeline, _request_timeout=_TIMEOUT)
        return ask().pipeline_versions[0]

    @property
    def _namespace(self) -> dict[str, str]:
        return {"namespace": self._settings.namespace} if self._settings.namespace else {}

    def _log(self, run_id: str, pods: list[str]) -> str:
        """Return the log of the first of these pods that has one."""

        def once(path: str) -> str:
            ask = {"auth_settings": ["Bearer"], "_preload_content": False, "_return_http_data_only": True, "_request_timeout": _TIMEOUT}
            try:
                return str(self._client.call_api(path, "GET", **ask).data.decode("utf-8", "replace"))
            except api.ApiException as error:
                # The server says 500 to whatever keeps it from a log, and only then in this form (its run_log_server.go): no use to ask again.
                if error.status == 500 and "error_message" in _members(error):
                    raise _NoLogError(_reason(error)) from error
                raise

        for route in _LOGS:
            with suppress(_MissingError):  # the route, not the pod
                for pod in pods:
                    with suppress(_NoLogError):
                        return self._call(partial(once, route.format(run=run_id, pod=pod)))
        return f"(no log is kept: the pod {pods[0]} is gone or was never made)"

    # The client.

    def _run(self, run: Any, *, tasks: bool = True) -> RemoteRun:
        key = run.display_name.rpartition("[")[2].removesuffix("]") if run.display_name.endswith("]") else ""
        return RemoteRun(
            id=run.run_id,
            name=run.display_name.removesuffix(f"[{key}]").strip(),
            key=key,
            state=state_of(run.state),
            url=f"{self._settings.endpoint.rstrip('/')}/#/runs/details/{run.run_id}",
            created=run.created_at,
            ended=moment(run.finished_at),
            error=run.error.message if run.error else "",
            tasks=tasks_of(run) if tasks else (),
        )

    @property
    def _client(self) -> Any:
        if self._opened is None:
            configuration = api.Configuration(host=self._settings.endpoint.rstrip("/"))
            if self._settings.ca_certificate:
                configuration.ssl_ca_cert = str(self._settings.ca_certificate)
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.retries = False
            self._opened = _Client(configuration)
            self._read_token()
        return self._opened

    def _read_token(self) -> bool:
        """Read the token again; whether it is another one than before."""
        keys = self._opened.configuration.api_key
        before, now = keys.get("authorization"), _token(self._settings.token)
        if now:
            keys["authorization"] = now
        return now not in (None, before)

    @property
    def _runs(self) -> Any:
        return api.RunServiceApi(self._client)

    @property
    def _recurring(self) -> Any:
        return api.RecurringRunServiceApi(self._client)

    @property
    def _pipelines(self) -> Any:
        return api.PipelineServiceApi(self._client)

    @property
    def _uploads(self) -> Any:
        return api.PipelineUploadServiceApi(self._client)

    @property
    def _where(self) -> str:
        return self._settings.endpoint

    def _call(self, request: Callable[[], T], *, again: tuple[int, ...] = (), until: Callable[[T], bool] = lambda _: True) -> T:
        """Ask, and again on what passes by itself; what stays becomes a sentence."""
        error: Exception | None = None
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(min(self._pause * 2 ** (attempt - 1), 10.0))
            try:
                if until(answer := request()):
                    return answer
                error = None
            except (api.ApiException, HTTPError) as caught:
                error = caught
                # Tokens last an hour and a run may last longer: the file or the command has the next one.
                if isinstance(error, api.ApiException) and error.status == 401 and self._read_token():
                    continue
                if isinstance(error, api.ApiException) and error.status not in (*_TRANSIENT, *again):
                    raise self._in_words(error) from error
        reason = _reason(error) if error else "what was written does not appear"
        raise PlatformError(
            f"{self._where}: Kubeflow Pipelines did not answer as it should ({reason}); whether it took the request is not known: the same "
            "command with the same --key is safe to repeat"
        ) from error

    def _in_words(self, error: Any) -> PlatformError:
        if error.status == 401:
            return PlatformError(
                f"{self._where}: the token is missing, wrong or expired (401); get a new one, and name its file under `token` in targets.toml"
            )
        if error.status == 403:
            return PlatformError(
                f"{self._where}: not allowed: {_reason(error)}; check `namespace` and `service_account` in targets.toml, and the rights "
                "(docs/kubeflow.md)"
            )
        if 300 <= error.status < 400:
            return PlatformError(f"{self._where}: sends on to another address (a login page?); correct `endpoint` or `token` in targets.toml")
        kind = {404: _MissingError, 409: _RefusedError, 400: _RefusedError}.get(error.status, PlatformError)
        return kind(f"{self._where}: Kubeflow Pipelines refuses this: {_reason(error)}")


class _RefusedError(PlatformError):
    pass


class _MissingError(PlatformError):
    pass


class _NoLogError(PlatformError):
    pass


class _Client(api.ApiClient):  # type: ignore[misc]  # it comes without types
    """The generated client, which takes any page for an answer without members."""

    def deserialize(self, response: Any, response_type: Any) -> Any:
        try:
            json.loads(response.data or "{}")
        except ValueError as error:
            raise PlatformError(
                f"{self.configuration.host}: what answers there is not the API of Kubeflow Pipelines (a login page?); correct `endpoint` or "
                "`token` in targets.toml"
            ) from error
        return super().deserialize(response, response_type)


def _pipeline(submission: Submission) -> dict[str, Any]:
    specification = forbid_caching(submission.specification) if submission.cached is False else submission.specification
    return {"pipeline_spec": specification, "platform_spec": submission.platform} if submission.platform else specification


def _note(submission: Submission) -> str:
    labels = "".join(f" {key}={value}" for key, value in sorted(submission.labels.items()))
    return f"intermodal {submission.digest}{labels}"


def _filter(operation: str, text: str) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": "display_name", "stringValue": text}]})


def _token(source: TokenSource | None) -> str | None:
    if source is None:
        return _IN_CLUSTER_TOKEN.read_text(encoding="utf-8").strip() if _IN_CLUSTER_TOKEN.exists() else None
    try:
        if source.file:
            return source.file.expanduser().read_text(encoding="utf-8").strip()
        return subprocess.run(source.command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except OSError as error:
        raise PlatformError(f"the token cannot be had: {error}; correct `token` in targets.toml") from error
    except subprocess.SubprocessError as error:
        raise PlatformError(f"the token cannot be had: `{source.command[0]}` failed or did not end; run it by hand") from error


def _schedule(recurring: Any) -> RemoteSchedule:
    return RemoteSchedule(
        id=recurring.recurring_run_id,
        name=recurring.display_name,
        cron=recurring.trigger.cron_schedule.cron.partition(" ")[2],
        time_zone="UTC",
        paused=recurring.status == "DISABLED",
    )


def _reason(error: Any) -> str:
    members = _members(error)
    return str(members.get("message") or members.get("error_message") or members.get("error") or getattr(error, "reason", None) or error)[:400]


def _members(error: Any) -> dict[str, Any]:
    """Return what an error's body says by name; empty for one without a body, and for one that is not JSON."""
    with suppress(ValueError, TypeError):
        members = json.loads(getattr(error, "body", None) or "{}")
        return members if isinstance(members, dict) else {}
    return {}
