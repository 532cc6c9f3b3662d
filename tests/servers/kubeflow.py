"""The API server of Kubeflow Pipelines (v2beta1) on loopback.

Every body is read by the types of the generated client: a field or a type that they do not know is refused, and so is a pipeline that does not
parse into its own protos.

What a run on Kubeflow Pipelines 2.17.0 showed is so here too:

- `/apis/v1alpha1/runs/{run}/nodes/{node}/log` serves logs. `node` is a node's id, for the log that Argo archived when the pod ended, or the name of a
  pod that is there; pods are found in multi-user installations alone, for the backend asks a single-user one's in the namespace "". What has no
  log is answered **200** with one object of `error_message` and `error_details`; the backend's next version answers 500 (`log_status`).
- An error is grpc-gateway's: `code` and `details`. A bad schemaVersion is 500, a pipeline that exists 409, terminating an ended run 400.
- A cancelled run is CANCELING and ends FAILED, with CANCELING in its history.
- A run that failed, or was cancelled, is retried: it is RUNNING again, with its history. Any other is answered 500: "it does not allow retries".
- `task_details` come without inputs. A driver's log has the ExecutorInput (`driver_log`).
- A cron of five fields is taken, and means seconds first.
- Deleting a recurring run kills the workflows that it started; nobody reports about their runs any more, which stay as they are.
"""

import functools
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.servers.faults import FaultyServer, Refusal, Request

_API = "/apis/v2beta1/"
_KINDS: dict[str, Any] = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool, "LIST": list, "STRUCT": dict}
_OPERATIONS = {1: "EQUALS", 9: "IS_SUBSTRING"}
_FINAL = ("SUCCEEDED", "FAILED", "CANCELED")
# By what lists are filtered: of the `APIToModelFieldMap` of the backend's models, what is used here.
_FILTERED = ("display_name", "state", "recurring_run_id")
# HTTP status to gRPC code, as grpc-gateway has them.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}


class KubeflowServer(FaultyServer):
    """See the module.

    `token`: when set, a request without it is answered 401. `namespaces`: when set, the installation is multi-user, and an experiment in any other
    namespace, or in none, is answered 403. `log_route`: where logs are; the backend's next version moves them to `/apis/v2beta1`.
    `log_status`: what a log that is not there is answered with. `hidden`: names that are taken and that no list shows.
    """

    token: str = ""
    namespaces: frozenset[str] = frozenset()
    log_route: str = "/apis/v1alpha1"
    log_status: int = 200
    hidden: frozenset[str] = frozenset()

    def __init__(self) -> None:
        stores = ("experiments", "runs", "recurringruns", "pipelines", "versions", "archive", "pods")
        super().__init__(state={name: {} for name in stores} | {"killed": [], "retried": [], "count": 0})

    def error(self, refusal: Refusal) -> Any:
        detail = {"@type": "type.googleapis.com/api.Error", "error_message": refusal.message, "error_details": refusal.message}
        return {"error": refusal.message, "code": _CODES.get(refusal.status, 2), "message": refusal.message, "details": [detail]}

    def respond(self, request: Request, state: Any) -> tuple[int, Any]:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Unauthenticated: request header error")
        if match := re.fullmatch(self.log_route + r"/runs/([^/]+)/nodes/([^/]+)/log", request.path):
            return self._log(match[1], match[2], state)
        if not request.path.startswith(_API):
            raise Refusal(404, "Not Found")
        for method, pattern, name in _ROUTES:
            if method == request.method and (match := re.fullmatch(pattern, request.path.removeprefix(_API))):
                return 200, getattr(self, name)(request, state, *match.groups())
        raise Refusal(404, f"no route {request.method} {request.path}")

    # What tests do to the platform's inside.

    def advance(self, run: str, to: str, tasks: list[dict[str, Any]] | None = None, error: str = "") -> None:
        """Bring a run to a state, with these task details, as the report of its workflow does."""
        found = self.state["runs"][run]
        assert run not in self.state["killed"], "nobody reports about a workflow that is gone"
        history = found.setdefault("state_history", [])
        for state in [found["state"], to] if found["state"] == "CANCELING" else [to]:
            if not history or history[-1]["state"] != state:
                history.append({"update_time": self._now(self.state), "state": state})
        found["state"] = to
        if tasks is not None:
            _strictly([{"run_id": run} | task for task in tasks], "list[V2beta1PipelineTaskDetail]", "task_details")
            found["run_details"] = {"task_details": tasks}
        if error:
            found["error"] = {"code": 2, "message": error}
        if to in _FINAL:
            found["finished_at"] = self._now(self.state)

    def start_scheduled(self, recurring: str) -> str:
        """Start a run as a recurring run does at its time; return its id."""
        job = self.state["recurringruns"][recurring]
        row = {key: job[key] for key in ("experiment_id", "pipeline_spec", "runtime_config", "display_name", "recurring_run_id")}
        return str(self._kept("runs", "run_id", row | {"state": "RUNNING", "storage_state": "AVAILABLE"}, self.state)["run_id"])

    # Health and experiments.

    def _healthz(self, request: Request, state: Any) -> Any:
        return {"multi_user": bool(self.namespaces)}

    def _create_experiment(self, request: Request, state: Any) -> Any:
        body = _strictly(request.json(), "V2beta1Experiment", "experiment")
        self._allowed(body.get("namespace", ""))
        if body["display_name"] in self.hidden or any(
            (each["display_name"], each["namespace"]) == (body["display_name"], body.get("namespace", "")) for each in state["experiments"].values()
        ):
            raise Refusal(409, f"Already exist error: experiment {body['display_name']}")
        return self._kept("experiments", "experiment_id", {"namespace": ""} | body, state)

    def _list_experiments(self, request: Request, state: Any) -> Any:
        self._allowed(request.query.get("namespace", ""))
        rows = [each for each in state["experiments"].values() if each["namespace"] == request.query.get("namespace", "")]
        return _page(rows, request, "experiments")

    # Runs.

    def _create_run(self, request: Request, state: Any) -> Any:
        body = _strictly(request.json(), "V2beta1Run", "run")
        experiment = self._experiment(body, state)
        self._checked(body, state)
        return self._kept(
            "runs", "run_id", body | {"state": "PENDING", "experiment_id": experiment["experiment_id"], "storage_state": "AVAILABLE"}, state
        )

    def _get_run(self, request: Request, state: Any, run: str) -> Any:
        return _found(state["runs"], run)

    def _list_runs(self, request: Request, state: Any) -> Any:
        self._allowed(request.query.get("namespace", "")) if "experiment_id" not in request.query else None
        wanted = request.query.get("experiment_id")
        rows = [each for each in state["runs"].values() if wanted in (None, each["experiment_id"])]
        return _page(rows, request, "runs")

    def _terminate_run(self, request: Request, state: Any, run: str) -> Any:
        found = _found(state["runs"], run)
        if found["state"] in (*_FINAL, "CANCELING"):
            raise Refusal(400, f"Failed to terminate a run {run}. Row not found")
        found["state"] = "CANCELING"
        return {}

    def _retry_run(self, request: Request, state: Any, run: str) -> Any:
        found = _found(state["runs"], run)
        if request.body.strip() not in (b"", b"{}"):
            raise Refusal(400, "RetryRun takes no body")
        if found["state"] not in ("FAILED", "CANCELED"):
            message = "it does not allow retries: BadRequestError: Workflow must be Failed/Error to retry: workflow cannot be retried"
            raise Refusal(500, f"InternalServerError: Failed to retry run {run} as {message}")
        found["state"] = "RUNNING"
        found.setdefault("state_history", []).append({"update_time": self._now(state), "state": "RUNNING"})
        for member in ("finished_at", "error"):
            found.pop(member, None)
        state["retried"].append(run)
        return {}

    def _delete_run(self, request: Request, state: Any, run: str) -> Any:
        _found(state["runs"], run)
        del state["runs"][run]
        return {}

    def _log(self, run: str, node: str, state: Any) -> tuple[int, bytes]:
        logs = (state["pods"] if self.namespaces else {}) | state["archive"]
        if run not in state["runs"] or node not in logs:
            message = f"Failed to read logs for run {run}: BadRequestError: pods {node!r} not found"
            return self.log_status, json.dumps({"error_message": message, "error_details": f"{message}\ngithub.com/kubeflow/pipelines"}).encode()
        return 200, logs[node].encode()

    # Recurring runs.

    def _create_recurring(self, request: Request, state: Any) -> Any:
        body = _strictly(request.json(), "V2beta1RecurringRun", "recurring_run")
        self._experiment(body, state)
        self._checked(body, state)
        cron = body.get("trigger", {}).get("cron_schedule", {}).get("cron", "")
        if len(cron.split()) not in (5, 6):
            raise Refusal(400, f"Schedule cron is not supported: expected 5 to 6 fields, found {cron!r}")
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refusal(400, "The max concurrency of the job is out of range. Support 1-10")
        return self._kept("recurringruns", "recurring_run_id", body | {"status": "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"}, state)

    def _list_recurring(self, request: Request, state: Any) -> Any:
        rows = [each for each in state["recurringruns"].values() if request.query.get("experiment_id") in (None, each["experiment_id"])]
        return _page(rows, request, "recurringRuns")

    def _get_recurring(self, request: Request, state: Any, identifier: str) -> Any:
        return _found(state["recurringruns"], identifier)

    def _enable(self, request: Request, state: Any, identifier: str) -> Any:
        _found(state["recurringruns"], identifier)["status"] = "ENABLED"
        return {}

    def _disable(self, request: Request, state: Any, identifier: str) -> Any:
        _found(state["recurringruns"], identifier)["status"] = "DISABLED"
        return {}

    def _delete_recurring(self, request: Request, state: Any, identifier: str) -> Any:
        _found(state["recurringruns"], identifier)
        del state["recurringruns"][identifier]
        runs = [each for each in state["runs"].values() if each.get("recurring_run_id") == identifier and each["state"] not in _FINAL]
        state["killed"] += [each["run_id"] for each in runs]
        return {}

    # Pipelines.

    def _upload(self, request: Request, state: Any) -> Any:
        name = request.query.get("display_name") or request.query.get("name", "")
        if name in self.hidden or any(each["display_name"] == name for each in state["pipelines"].values()):
            raise Refusal(409, f"Already exist error: pipeline {name}")
        made = self._kept("pipelines", "pipeline_id", {"display_name": name, "namespace": request.query.get("namespace", "")}, state)
        self._version(made["pipeline_id"], name, _uploaded(request), state)
        return made

    def _upload_version(self, request: Request, state: Any) -> Any:
        pipeline = _found(state["pipelines"], request.query["pipelineid"])["pipeline_id"]
        return self._version(pipeline, request.query.get("display_name") or request.query.get("name", ""), _uploaded(request), state)

    def _list_pipelines(self, request: Request, state: Any) -> Any:
        return _page(list(state["pipelines"].values()), request, "pipelines")

    def _list_versions(self, request: Request, state: Any, pipeline: str) -> Any:
        rows = [each for each in state["versions"].values() if each["pipeline_id"] == pipeline]
        return _page(rows, request, "pipeline_versions")

    def _get_version(self, request: Request, state: Any, pipeline: str, version: str) -> Any:
        return _found({key: each for key, each in state["versions"].items() if each["pipeline_id"] == pipeline}, version)

    def _version(self, pipeline: str, name: str, specification: dict[str, Any], state: Any) -> Any:
        if any((each["pipeline_id"], each["display_name"]) == (pipeline, name) for each in state["versions"].values()):
            raise Refusal(409, f"Already exist error: version {name}")
        row = {"pipeline_id": pipeline, "display_name": name, "pipeline_spec": specification}
        return self._kept("versions", "pipeline_version_id", row, state)

    # What all share.

    def _experiment(self, body: dict[str, Any], state: Any) -> Any:
        found = state["experiments"].get(body.get("experiment_id", ""))
        if found is None:
            raise Refusal(404, f"experiment {body.get('experiment_id')!r} not found")
        return found

    def _checked(self, body: dict[str, Any], state: Any) -> None:
        if not body.get("display_name"):
            raise Refusal(400, "display_name is required")
        given = body.get("runtime_config", {}).get("parameters", {})
        _check_parameters(_check_specification(body["pipeline_spec"]), given)

    def _allowed(self, namespace: str) -> None:
        if self.namespaces and namespace not in self.namespaces:
            raise Refusal(403, f"User is not authorized to access namespace {namespace!r}")

    def _kept(self, store: str, key: str, row: dict[str, Any], state: Any) -> Any:
        identifier = str(uuid.UUID(int=state["count"] + 1))
        state[store][identifier] = row | {key: identifier, "created_at": self._now(state)}
        return state[store][identifier]

    def _now(self, state: Any) -> str:
        state["count"] += 1
        return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=state["count"])).isoformat().replace("+00:00", "Z")


_ROUTES: list[tuple[str, str, str]] = [
    ("GET", "healthz", "_healthz"),
    ("POST", "experiments", "_create_experiment"),
    ("GET", "experiments", "_list_experiments"),
    ("POST", "runs", "_create_run"),
    ("GET", "runs", "_list_runs"),
    ("GET", "runs/([^/:]+)", "_get_run"),
    ("POST", "runs/([^/:]+):terminate", "_terminate_run"),
    ("POST", "runs/([^/:]+):retry", "_retry_run"),
    ("DELETE", "runs/([^/:]+)", "_delete_run"),
    ("POST", "recurringruns", "_create_recurring"),
    ("GET", "recurringruns", "_list_recurring"),
    ("GET", "recurringruns/([^/:]+)", "_get_recurring"),
    ("POST", "recurringruns/([^/:]+):enable", "_enable"),
    ("POST", "recurringruns/([^/:]+):disable", "_disable"),
    ("DELETE", "recurringruns/([^/:]+)", "_delete_recurring"),
    ("POST", "pipelines/upload", "_upload"),
    ("POST", "pipelines/upload_version", "_upload_version"),
    ("GET", "pipelines", "_list_pipelines"),
    ("GET", "pipelines/([^/:]+)/versions", "_list_versions"),
    ("GET", "pipelines/([^/:]+)/versions/([^/:]+)", "_get_version"),
]


Tree = dict[str, tuple[str, list[str]]]


def workflow_nodes(workflow: str, tree: Tree) -> list[dict[str, Any]]:
    """Return task details as the backend's `toApiPipelineTaskDetail` fills them from the nodes of a workflow, sorted by nothing.

    Args:
        workflow: Its name.
        tree: Full name below the workflow, such as `root.say.executor` (empty: the workflow) → state, and the full names of the nodes after it.
            They start a second after each other, in this order; attempts start with their node.
    """
    found: list[dict[str, Any]] = []
    time = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(seconds=1)
    for name, (state, after) in tree.items():
        if not re.search(r"\(\d+\)$", name):
            time += timedelta(seconds=1)
        children = [{"pod_name": node_id(workflow, each)} for each in after]
        # A node that did not start has Go's zero time; one that waits for its pod has begun.
        start = time.isoformat().replace("+00:00", "Z") if state != "RUNTIME_STATE_UNSPECIFIED" else "0001-01-01T00:00:00Z"
        end = start if state not in ("RUNNING", "PENDING") else "1970-01-01T00:00:00Z"
        detail = {"task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)), "display_name": _display(workflow, name), "state": state}
        found.append(detail | {"start_time": start, "end_time": end} | ({"child_tasks": children} if children else {}))
    return sorted(found, key=lambda each: each["task_id"])


def driver_log(given: dict[str, Any]) -> str:
    """Return the log of a task's driver, as the backend's `cmd/driver/main.go` and Argo's executor write it.

    Args:
        given: The ExecutorInput, which `protojson` writes and the driver indents.
    """
    parsed = json_format.ParseDict(given, pipeline_spec_pb2.ExecutorInput())
    text = re.sub(r"(?<=: )(-?\d+)\.0(?=,?\n)", r"\1", json.dumps(json_format.MessageToDict(parsed), indent=2))  # protojson writes 5 as 5
    return (
        'I1121 10:00:00.000000      17 main.go:108] input ComponentSpec:{\n  "executorLabel": "exec-say"\n}\n'
        "I1121 10:00:00.300000      17 cache.go:116] Connecting to cache endpoint ml-pipeline.kubeflow:8887\n"
        f"I1121 10:00:00.400000      17 main.go:257] output ExecutorInput:{text}\n"
        'time="2026-11-21T10:00:01.000Z" level=info msg="sub-process exited" argo=true error="<nil>"\n'
    )


def retried(tree: Tree) -> Tree:
    """Return the tree as it is where the workflow controller has a `templateDefaults.retryStrategy`: each node a Retry with a child `name(0)`.

    Nodes that are a Retry of their own stay one, with their attempts; a loop's frame and what was left out are none.
    """
    wrapped = {name for name, (state, after) in tree.items() if not _frame(name, after) and state not in ("RUNTIME_STATE_UNSPECIFIED", "SKIPPED")}
    wrapped = {name for name in wrapped if not (re.search(r"\(\d+\)$", name) and name.rpartition("(")[0] in tree)}

    def renamed(name: str) -> str:
        parts = _ancestors(name)
        return "".join(part + ("(0)" if path in wrapped and path != name else "") for path, part in parts)

    made: Tree = {}
    for name, (state, after) in tree.items():
        own = renamed(name)
        children = [renamed(each) for each in after]
        if name not in wrapped:
            made[own] = state, children
        else:
            made[own] = "RUNNING" if state == "PENDING" else state, [f"{own}(0)"]
            made[f"{own}(0)"] = state, children
    return made


def _ancestors(name: str) -> list[tuple[str, str]]:
    """Return the paths that lead to a node, the workflow's first, and what each adds to the one before."""
    found, path = [("", "")], ""
    for part in name.split(".") if name else []:
        path = f"{path}.{part}" if path else part
        found.append((path, f".{part}"))
    return found


def _frame(name: str, after: list[str]) -> bool:
    return any(re.fullmatch(re.escape(name) + r"\(\d+(:\d+)?\)", each) for each in after)


def _full(workflow: str, name: str) -> str:
    return workflow + (name if name.startswith(("(", ".")) or not name else f".{name}")


def _display(workflow: str, name: str) -> str:
    return _full(workflow, name).rpartition(".")[2]


def node_id(workflow: str, name: str) -> str:
    """Return the id that Argo gives to a node of this full name below the workflow."""
    return f"{workflow}-{node_hash(_full(workflow, name))}" if name else workflow


def node_hash(name: str) -> int:
    """Return Argo's hash of a node's full name: FNV-1a of 32 bits (`workflow/util/pod_name.go`)."""
    return functools.reduce(lambda value, byte: (value ^ byte) * 16777619 % 2**32, name.encode(), 2166136261)


def _strictly(value: Any, kind: str, where: str) -> Any:
    """Return a value that is of the generated client's type `kind`, or refuse it."""
    if value is None:
        return value
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        return [_strictly(each, match[1], where) for each in _of(value, list, where)]
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {key: _strictly(each, match[1], f"{where}.{key}") for key, each in _of(value, dict, where).items()}
    if kind in ("str", "datetime"):
        # A 64-bit integer may come as a number or as a text, as protobuf's JSON has it.
        return _of(value, (str, int) if where.endswith("max_concurrency") else str, where)
    if kind in ("bool", "int"):
        return _of(value, bool if kind == "bool" else int, where)
    if kind == "object":
        return value
    model = getattr(kfp_server_api, kind)
    if not model.openapi_types:
        return _of(value, str, where)
    names = {wire: name for name, wire in model.attribute_map.items()}
    for key, each in _of(value, dict, where).items():
        if key not in names:
            raise Refusal(400, f"unknown field {key!r} in {where}")
        _strictly(each, model.openapi_types[names[key]], f"{where}.{key}")
    return {key: each for key, each in value.items() if each is not None}


def _of(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise Refusal(400, f"{where}: expected {kind}, found {value!r}")
    return value


def _check_specification(value: Any) -> dict[str, Any]:
    whole = value if "pipeline_spec" in value else {"pipeline_spec": value}
    if unknown := set(whole) - {"pipeline_spec", "platform_spec"}:
        raise Refusal(400, f"unknown field {sorted(unknown)[0]!r} beside pipeline_spec")
    specification: dict[str, Any] = whole["pipeline_spec"]
    _parsed(specification, pipeline_spec_pb2.PipelineSpec())
    _parsed(specification.get("deploymentSpec", {}), pipeline_spec_pb2.PipelineDeploymentConfig())
    if specification.get("schemaVersion") != "2.1.0":
        raise Refusal(500, f"InternalServerError: Failed to validate the pipeline: unsupported schemaVersion {specification.get('schemaVersion')!r}")
    platforms = whole.get("platform_spec", {})
    _parsed(platforms, pipeline_spec_pb2.PlatformSpec())
    for executor in platforms.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}).values():
        _parsed(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    return specification


def _parsed(value: Any, message: Any) -> None:
    try:
        json_format.ParseDict(value, message)
    except json_format.ParseError as error:
        raise Refusal(400, f"Invalid input error: {error}") from error


def _check_parameters(specification: dict[str, Any], given: dict[str, Any]) -> None:
    declared = specification["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in given.items():
        if name not in declared:
            raise Refusal(400, f"parameter {name!r} provided is not required by pipeline")
        kind = declared[name]["parameterType"]
        if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
            raise Refusal(400, f"input parameter {name!r} requires type {kind}")
    for name, definition in declared.items():
        if name not in given and "defaultValue" not in definition and not definition.get("isOptional"):
            raise Refusal(400, f"parameter {name!r} is required")


def _uploaded(request: Request) -> dict[str, Any]:
    boundary = re.search(r"boundary=(\S+)", request.headers.get("content-type", ""))
    if not boundary:
        raise Refusal(400, "expected multipart/form-data")
    part = next((each for each in request.body.split(b"--" + boundary[1].encode()) if b'name="uploadfile"' in each), None)
    if part is None:
        raise Refusal(400, "expected the form field uploadfile")
    documents = list(yaml.safe_load_all(part.split(b"\r\n\r\n", 1)[1]))
    value = {"pipeline_spec": documents[0]} | ({"platform_spec": documents[1]} if len(documents) > 1 else {})
    _check_specification(value)
    return value


def _page(rows: list[dict[str, Any]], request: Request, member: str) -> Any:
    rows = [each for each in rows if _passes(each, request.query.get("filter", ""))]
    order = request.query.get("sort_by", "created_at").removeprefix("-").split()
    if order[0] not in ("created_at", "display_name", "name", "id"):
        raise Refusal(400, f"invalid sort_by {order[0]!r}")
    rows.sort(key=lambda each: each.get(order[0], ""), reverse=order[1:] == ["desc"])
    start, size = int(request.query.get("page_token") or 0), int(request.query.get("page_size") or 10)
    more = {"next_page_token": str(start + size)} if start + size < len(rows) else {}
    return {member: rows[start : start + size], "total_size": len(rows)} | more


def _passes(row: dict[str, Any], text: str) -> bool:
    if not text:
        return True
    try:
        predicates = json.loads(text)["predicates"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(400, f"invalid filter {text!r}") from error
    for each in predicates:
        if unknown := set(each) - {"operation", "key", "stringValue", "string_value"}:
            raise Refusal(400, f"unknown field {sorted(unknown)[0]!r} in a predicate")
        operation = _OPERATIONS.get(each["operation"], each["operation"])
        wanted = each.get("stringValue", each.get("string_value", ""))
        key = {"name": "display_name"}.get(each["key"], each["key"])
        value = row.get(key, "")
        if operation not in _OPERATIONS.values() or key not in _FILTERED:
            raise Refusal(400, f"invalid predicate {each}")
        if not (value == wanted if operation == "EQUALS" else wanted in value):
            return False
    return True


def _found(store: dict[str, Any], identifier: str) -> Any:
    if identifier not in store:
        raise Refusal(404, f"ResourceNotFoundError: {identifier} not found")
    return store[identifier]
