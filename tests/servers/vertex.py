"""Vertex AI's pipelines, schedules, models and endpoints, and Cloud Logging's entries, on loopback.

The routes are those of Google's own client (`services/*/transports/rest_base.py`), and every request is parsed into the client's own protos;
a field, type or route that they do not know is refused. What the service's documentation says it refuses is refused besides.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud import aiplatform_v1beta1 as preview
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.endpoint_service.transports.rest_base import _BaseEndpointServiceRestTransport
from google.cloud.aiplatform_v1.services.model_service.transports.rest_base import _BaseModelServiceRestTransport
from google.cloud.aiplatform_v1.services.pipeline_service.transports.rest_base import _BasePipelineServiceRestTransport
from google.cloud.aiplatform_v1.services.schedule_service.transports.rest_base import _BaseScheduleServiceRestTransport
from google.cloud.aiplatform_v1beta1.services.pipeline_service.transports.rest_base import (
    _BasePipelineServiceRestTransport as _BasePreviewTransport,
)
from google.cloud.logging_v2 import types as logging_types
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.servers.faults import FaultyServer, Refusal, Request

_SERVICES = (
    _BasePipelineServiceRestTransport,
    _BaseScheduleServiceRestTransport,
    _BaseModelServiceRestTransport,
    _BaseEndpointServiceRestTransport,
    _BasePreviewTransport,
)
_LABEL_KEY, _LABEL_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
# The service's own label of a job: its number.
_BILLING = "vertex-ai-pipelines-run-billing-id"
_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "STRING": str,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_ACCELERATORS = {name for name in types.AcceleratorType.__members__ if name != "ACCELERATOR_TYPE_UNSPECIFIED"}

Route = tuple[str, "re.Pattern[str]", str, str]


def _routes_of(*services: type) -> list[Route]:
    """Return (HTTP method, path pattern, RPC name, name of the body's field) of every call that the client can make."""
    found = []
    for service in services:
        for name, inner in vars(service).items():
            if name.startswith("_Base") and hasattr(inner, "_get_http_options"):
                for option in inner._get_http_options():
                    found.append((option["method"].upper(), _pattern(option["uri"]), name.removeprefix("_Base"), option.get("body", "")))
    return found


def _pattern(uri: str) -> "re.Pattern[str]":
    text = ""
    for part in re.split(r"(\{[^}]+\})", uri):
        if part.startswith("{"):
            name, _, shape = part.strip("{}").partition("=")
            text += f"(?P<{name.replace('.', '__')}>{(shape or '*').replace('**', '.+').replace('*', '[^/]+')})"
        else:
            text += re.escape(part)
    return re.compile(text)


class VertexServer(FaultyServer):
    """See the module.

    `token`: when set, a request without it is answered 401. `lingering`: how many reads still see a schedule that was deleted.
    """

    token: str = ""
    lingering: int = 0

    def __init__(self) -> None:
        super().__init__(
            state={
                "jobs": {},
                "schedules": {},
                "models": {},
                "endpoints": {},
                "operations": {},
                "entries": [],
                "leaving": {},
                "reruns": {},
                "count": 0,
            }
        )
        self._routes = _routes_of(*_SERVICES)

    def error(self, refusal: Refusal) -> Any:
        words = {
            400: "INVALID_ARGUMENT",
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            404: "NOT_FOUND",
            409: "ALREADY_EXISTS",
            429: "RESOURCE_EXHAUSTED",
        }
        return {"error": {"code": refusal.status, "message": refusal.message, "status": words.get(refusal.status, "UNAVAILABLE")}}

    def respond(self, request: Request, state: Any) -> tuple[int, Any]:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Request had invalid authentication credentials.")
        if request.path == "/v2/entries:list":
            return 200, self._entries(request, state)
        for method, pattern, name, body in self._routes:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                handler: Callable[[Any, Any], Any] | None = getattr(self, f"_on_{_snake(name)}", None)
                if handler is None:
                    raise Refusal(501, f"{name} is not served here")
                return 200, handler(_parse(name, body, match, request), state)
        if request.method == "GET" and "/operations/" in request.path:
            return 200, self._operation(request.path.removeprefix("/v1/"), state)
        raise Refusal(404, f"no route {request.method} {request.path}")

    # What tests do to the platform's inside.

    def advance(self, job: str, to: str, tasks: list[dict[str, Any]] | None = None, error: str = "") -> None:
        """Bring a job to a state, with these task details."""
        found = self.state["jobs"][job]
        found["state"] = to
        if tasks is not None:
            found["jobDetail"] = {"taskDetails": tasks}
        if error:
            found["error"] = {"code": 9, "message": error}
        if to.endswith(("SUCCEEDED", "FAILED", "CANCELLED")):
            found["endTime"] = self._now(self.state)
        json_format.ParseDict(found, types.PipelineJob.pb(types.PipelineJob()))

    # Pipeline jobs.

    def _on_create_pipeline_job(self, request: Any, state: Any) -> Any:
        self._check_job(request.pipeline_job)
        identifier = request.pipeline_job_id or f"job-{state['count']}"
        if not _JOB_ID.fullmatch(identifier):
            raise Refusal(400, f"pipeline_job_id {identifier!r} does not match {_JOB_ID.pattern}")
        name = f"{request.parent}/pipelineJobs/{identifier}"
        if name in state["jobs"]:
            raise Refusal(409, f"Resource {name!r} already exists")
        job = _json(request.pipeline_job)
        if original := job.pop("originalPipelineJobId", None):  # in preview alone
            if original not in [each["labels"][_BILLING] for each in state["jobs"].values()]:
                raise Refusal(400, f"original_pipeline_job_id {original}: there is no such pipeline job")
            state["reruns"][name] = original
        job["labels"] = job.get("labels", {}) | {_BILLING: str(8_000_000_000 + len(state["jobs"]))}
        state["jobs"][name] = job | {"name": name, "state": "PIPELINE_STATE_PENDING", "createTime": self._now(state)}
        return state["jobs"][name]

    def _on_get_pipeline_job(self, request: Any, state: Any) -> Any:
        return _found(state["jobs"], request.name)

    def _on_list_pipeline_jobs(self, request: Any, state: Any) -> Any:
        if request.order_by not in ("", "create_time desc", "create_time"):
            raise Refusal(400, f"order_by {request.order_by!r} is not supported")
        return _page(state["jobs"], request, "pipelineJobs", newest_first=request.order_by == "create_time desc")

    def _on_cancel_pipeline_job(self, request: Any, state: Any) -> Any:
        job = _found(state["jobs"], request.name)
        if job["state"].endswith(("SUCCEEDED", "FAILED", "CANCELLED")):
            raise Refusal(400, f"The pipeline job is already in a terminal state: {job['state']}")
        job["state"] = "PIPELINE_STATE_CANCELLING"
        return {}

    def _on_delete_pipeline_job(self, request: Any, state: Any) -> Any:
        _found(state["jobs"], request.name)
        del state["jobs"][request.name]
        return self._done(request.name, state, None)

    def _check_job(self, job: Any) -> None:
        if len(job.display_name) > 128:
            raise Refusal(400, "display_name must be 128 characters or fewer")
        for key, value in job.labels.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                raise Refusal(400, f"label {key}={value} is invalid: lowercase letters, digits, _ and -, 63 characters at most")
        if not job.runtime_config.gcs_output_directory.startswith("gs://"):
            raise Refusal(400, f"gcs_output_directory must start with gs://, not {job.runtime_config.gcs_output_directory!r}")
        specification = json_format.MessageToDict(job.pipeline_spec)
        parsed = pipeline_spec_pb2.PipelineSpec()
        _strictly(specification, parsed, "pipeline_spec")
        deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
        _strictly(specification.get("deploymentSpec", {}), deployment, "pipeline_spec.deployment_spec")
        for name, executor in deployment.executors.items():
            kind = executor.container.resources.accelerator.resource_type or executor.container.resources.accelerator.type
            if kind and kind not in _ACCELERATORS:
                raise Refusal(400, f"{name}: unknown accelerator {kind}")
        _check_parameters(specification, json_format.MessageToDict(job.runtime_config).get("parameterValues", {}))

    # Schedules.

    def _on_create_schedule(self, request: Any, state: Any) -> Any:
        schedule = request.schedule
        if not schedule.display_name or not schedule.max_concurrent_run_count:
            raise Refusal(400, "display_name and max_concurrent_run_count are required")
        if not re.fullmatch(r"((CRON_)?TZ=[\w/+-]+ )?\S+ \S+ \S+ \S+ \S+", schedule.cron):
            raise Refusal(400, f"cron {schedule.cron!r} is invalid")
        if schedule.create_pipeline_job_request.pipeline_job_id:
            raise Refusal(400, "pipeline_job_id must not be set in a schedule")
        self._check_job(schedule.create_pipeline_job_request.pipeline_job)
        name = f"{request.parent}/schedules/{state['count']}"
        upcoming = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        state["schedules"][name] = _json(schedule) | {"name": name, "state": "ACTIVE", "createTime": self._now(state), "nextRunTime": upcoming}
        return state["schedules"][name]

    def _on_get_schedule(self, request: Any, state: Any) -> Any:
        if (left := state["leaving"].get(request.name)) is not None:
            state["leaving"][request.name] = left - 1
            if left == 0:
                del state["schedules"][request.name], state["leaving"][request.name]
        return _found(state["schedules"], request.name)

    def _on_list_schedules(self, request: Any, state: Any) -> Any:
        return _page(state["schedules"], request, "schedules", newest_first=True)

    def _on_pause_schedule(self, request: Any, state: Any) -> Any:
        _found(state["schedules"], request.name)["state"] = "PAUSED"
        return {}

    def _on_resume_schedule(self, request: Any, state: Any) -> Any:
        schedule = _found(state["schedules"], request.name)
        if schedule["state"] != "PAUSED":
            raise Refusal(400, f"Only paused Schedule can be resumed: {schedule['state']}")
        schedule["state"], schedule["catchUp"] = "ACTIVE", request.catch_up
        return {}

    def _on_delete_schedule(self, request: Any, state: Any) -> Any:
        _found(state["schedules"], request.name)
        if self.lingering:
            state["leaving"][request.name] = self.lingering
        else:
            del state["schedules"][request.name]
        return self._done(request.name, state, None)

    # Models and endpoints.

    def _on_upload_model(self, request: Any, state: Any) -> Any:
        name = request.parent_model or f"{request.parent}/models/{request.model_id or state['count']}"
        model = state["models"].get(name, {"versionId": "0"})
        if not request.model.display_name or not request.model.container_spec.image_uri:
            raise Refusal(400, "display_name and container_spec.image_uri are required")
        version = str(int(model["versionId"]) + 1)
        state["models"][name] = _json(request.model) | {"name": name, "versionId": version, "createTime": self._now(state)}
        return self._done(name, state, types.UploadModelResponse(model=name, model_version_id=version))

    def _on_get_model(self, request: Any, state: Any) -> Any:
        return _found(state["models"], request.name.partition("@")[0])

    def _on_create_endpoint(self, request: Any, state: Any) -> Any:
        name = f"{request.parent}/endpoints/{request.endpoint_id or state['count']}"
        if name in state["endpoints"]:
            raise Refusal(409, f"{name} already exists")
        state["endpoints"][name] = _json(request.endpoint) | {"name": name, "createTime": self._now(state)}
        return self._done(name, state, types.Endpoint(name=name))

    def _on_get_endpoint(self, request: Any, state: Any) -> Any:
        return _found(state["endpoints"], request.name)

    def _on_list_endpoints(self, request: Any, state: Any) -> Any:
        return _page(state["endpoints"], request, "endpoints", newest_first=True)

    def _on_deploy_model(self, request: Any, state: Any) -> Any:
        endpoint = _found(state["endpoints"], request.endpoint)
        _found(state["models"], request.deployed_model.model.partition("@")[0])
        if request.traffic_split and sum(request.traffic_split.values()) != 100:
            raise Refusal(400, "traffic_split must sum to 100")
        identifier = request.deployed_model.id or str(len(endpoint.get("deployedModels", [])) + 1)
        deployed = _json(request.deployed_model) | {"id": identifier}
        endpoint.setdefault("deployedModels", []).append(deployed)
        endpoint["trafficSplit"] = {identifier if key == "0" else key: share for key, share in request.traffic_split.items()}
        return self._done(request.endpoint, state, types.DeployModelResponse(deployed_model=types.DeployedModel(id=identifier)))

    def _on_undeploy_model(self, request: Any, state: Any) -> Any:
        endpoint = _found(state["endpoints"], request.endpoint)
        endpoint["deployedModels"] = [each for each in endpoint.get("deployedModels", []) if each["id"] != request.deployed_model_id]
        return self._done(request.endpoint, state, types.UndeployModelResponse())

    # Operations, logs, time.

    def _done(self, about: str, state: Any, response: Any) -> Any:
        operation = operations_pb2.Operation(name=f"{'/'.join(about.split('/')[:4])}/operations/{state['count']}", done=True)
        packed = any_pb2.Any()
        if response is None:
            packed.type_url = "type.googleapis.com/google.protobuf.Empty"
        else:
            packed.Pack(type(response).pb(response))
        operation.response.CopyFrom(packed)
        state["count"] += 1
        state["operations"][operation.name] = _json(operation)
        return state["operations"][operation.name]

    def _operation(self, name: str, state: Any) -> Any:
        return _found(state["operations"], name)

    def _entries(self, request: Request, state: Any) -> Any:
        parsed = logging_types.ListLogEntriesRequest.pb(logging_types.ListLogEntriesRequest())
        _strictly(request.json(), parsed, "entries:list")
        if not parsed.resource_names:
            raise Refusal(400, "resource_names is required")
        found = [each for each in state["entries"] if all(_logged(each, clause) for clause in parsed.filter.split(" AND "))]
        start = int(parsed.page_token or 0)
        size = parsed.page_size or 50
        more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
        return {"entries": found[start : start + size]} | more

    def _now(self, state: Any) -> str:
        state["count"] += 1
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=state["count"])).isoformat().replace("+00:00", "Z")


def _parse(name: str, body: str, match: "re.Match[str]", request: Request) -> Any:
    """Return the RPC's request proto, from path, body and query."""
    kind = getattr(preview if request.path.startswith("/v1beta1/") else types, f"{name}Request")
    message = kind.pb(kind())
    content = request.json()
    if body == "*":
        _strictly(content, message, "body")
    elif body:
        _strictly({body: content}, message, "body")
    elif content:
        raise Refusal(400, f"{name} takes no body")
    for key, value in request.query.items():
        if not key.startswith("$"):
            _strictly({key: int(value) if key in ("pageSize", "page_size") else value}, message, "query")
    for key, value in match.groupdict().items():
        target, parts = message, key.split("__")
        for part in parts[:-1]:
            target = getattr(target, part)
        setattr(target, parts[-1], value)
    return message


def _strictly(value: Any, message: Any, where: str) -> None:
    try:
        json_format.ParseDict(value, message)
    except json_format.ParseError as error:
        raise Refusal(400, f"Invalid JSON payload received at {where}: {error}") from error


def _check_parameters(specification: dict[str, Any], given: dict[str, Any]) -> None:
    declared = specification.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    for name, value in given.items():
        if name not in declared:
            raise Refusal(400, f"unknown runtime parameter {name!r}")
        kind = declared[name]["parameterType"]
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
            raise Refusal(400, f"runtime parameter {name!r} must be of type {kind}")
    for name, definition in declared.items():
        if name not in given and "defaultValue" not in definition and not definition.get("isOptional"):
            raise Refusal(400, f"runtime parameter {name!r} is required")


def _page(store: dict[str, Any], request: Any, member: str, *, newest_first: bool) -> Any:
    rows = [each for name, each in store.items() if name.startswith(f"{request.parent}/") and _passes(each, request.filter)]
    rows.sort(key=lambda each: each["createTime"], reverse=newest_first)
    size = min(request.page_size or 100, 100)
    try:
        start = int(request.page_token or 0)
    except ValueError:
        raise Refusal(400, f"page_token {request.page_token!r} is invalid") from None
    more = {"nextPageToken": str(start + size)} if start + size < len(rows) else {}
    return {member: rows[start : start + size]} | more


def _passes(row: dict[str, Any], text: str) -> bool:
    """Whether a row passes a filter of the documented forms `display_name="x"`, `labels.key="x"`, `labels.key:*`, joined by AND."""
    for clause in filter(None, text.split(" AND ")):
        match = re.fullmatch(r'(display_name|labels\.[\w-]+)(=|:)("([^"]*)"|\*)', clause.strip())
        if not match:
            raise Refusal(400, f"invalid filter {clause!r}")
        field = match[1].removeprefix("labels.")
        value = row.get("displayName") if match[1] == "display_name" else row.get("labels", {}).get(field)
        if value is None or (match[3] != "*" and value != match[4]):
            return False
    return True


def _logged(entry: dict[str, Any], clause: str) -> bool:
    """Whether an entry passes a clause of the forms `resource.type="x"`, `resource.labels.key="x"`, `timestamp>="x"`."""
    match = re.fullmatch(r'(resource\.type|resource\.labels\.(\w+)|timestamp)(=|>=)"([^"]*)"', clause)
    if not match or (match[1] == "timestamp") != (match[3] == ">="):
        raise Refusal(400, f"Unparseable filter: {clause!r}")
    if match[1] == "timestamp":
        return datetime.fromisoformat(entry["timestamp"]) >= datetime.fromisoformat(match[4])
    return bool((entry["resource"]["labels"].get(match[2]) if match[2] else entry["resource"]["type"]) == match[4])


def _found(store: dict[str, Any], name: str) -> Any:
    if name not in store:
        raise Refusal(404, f"Resource {name!r} is not found")
    return store[name]


def _json(message: Any) -> dict[str, Any]:
    made: dict[str, Any] = json_format.MessageToDict(message)
    return made


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
