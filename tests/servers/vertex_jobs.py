"""Vertex AI's CustomJobs on loopback: their replicas run as processes, with the place of each in the variables that the service documents.

Google's launcher creates and reads jobs over gRPC, and cancels them over HTTPS; both reach the same state through `vertex_serving.https_proxy`.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.cloud.aiplatform_v1 import types
from google.cloud.aiplatform_v1.services.job_service.transports.rest_base import _BaseJobServiceRestTransport
from google.protobuf import json_format

from intermodal.authoring.images import image_of
from intermodal.execution.environments import environment
from tests.ports import free_port
from tests.servers.faults import Refusal, Request
from tests.servers.vertex import VertexServer, _found, _json, _page, _routes_of
from tests.servers.vertex_serving import grpc_service

_SOURCE = Path(__file__).resolve().parents[2] / "src"
_TASKS = ("chief", "worker", "ps", "evaluator")
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_CODES = {400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED}
_CODES |= {404: grpc.StatusCode.NOT_FOUND, 429: grpc.StatusCode.RESOURCE_EXHAUSTED, 503: grpc.StatusCode.UNAVAILABLE}


class JobVertex(VertexServer):
    """Each read of a job moves it on: queued, pending, running while its replicas run, then its end. What they print is in Cloud Logging.

    Args:
        folder: For the replicas' logs.

    Attributes:
        seen: States that reads have returned, in their order, without repeats.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._routes += _routes_of(_BaseJobServiceRestTransport)
        self._folder = folder
        self._replicas: dict[str, list[tuple[str, subprocess.Popen[bytes]]]] = {}
        self.state["custom"] = {}
        self.seen: list[str] = []

    def respond(self, request: Request, state: Any) -> tuple[int, Any]:
        if request.path == "/token":
            return 200, {"access_token": "opaque", "expires_in": 3600, "token_type": "Bearer"}
        return super().respond(request, state)

    @contextmanager
    def serving(self, folder: Path, port: int) -> Iterator[None]:
        """Serve the jobs over gRPC too."""
        answer, requests = types.CustomJob.serialize, (types.CreateCustomJobRequest, types.GetCustomJobRequest)
        handlers = (self._on_create_custom_job, self._on_get_custom_job)
        methods = {
            kind.__name__.removesuffix("Request"): grpc.unary_unary_rpc_method_handler(self._over_grpc(handler), kind.deserialize, answer)
            for kind, handler in zip(requests, handlers, strict=True)
        }
        try:
            with grpc_service("google.cloud.aiplatform.v1.JobService", methods, folder, port):
                yield
        finally:
            for name in list(self._replicas):
                self._end(name)

    def _over_grpc(self, handler: Any) -> Any:
        def handle(request: Any, context: Any) -> Any:
            if not dict(context.invocation_metadata()).get("authorization", "").startswith("Bearer "):  # a service account signs its own
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request is missing required authentication credential.")
            path = f"grpc/{type(request).__name__}"
            with self._lock:
                self.requests.append(Request("GRPC", path, {}, {}, b""))
                fault = next((each for each in self.faults if each.meets("GRPC", path)), None)
                if fault:
                    self.faults.remove(fault)
                    context.abort(_CODES[fault.status], fault.message)
                try:
                    made = handler(type(request).pb(request), self.state)
                except Refusal as refusal:
                    context.abort(_CODES[refusal.status], refusal.message)
            return types.CustomJob(json_format.ParseDict(made, types.CustomJob.pb(types.CustomJob())))

        return handle

    # What tests do to the platform's inside.

    def preempt(self) -> None:
        """Take a machine away: the service starts all replicas again where the job says so, and else fails."""
        with self._lock:
            ((name, job),) = self.state["custom"].items()
            self._end(name)
            if job["jobSpec"].get("scheduling", {}).get("restartJobOnWorkerRestart"):
                job["state"] = "JOB_STATE_PENDING"
            else:
                self._fail(job, 14, "The replica workerpool1-0 was preempted.")

    # The service.

    def _on_create_custom_job(self, request: Any, state: Any) -> Any:
        job, number = _json(request.custom_job), f"{7_000 + len(state['custom'])}"
        pools = job.get("jobSpec", {}).get("workerPoolSpecs", [])
        if not job.get("displayName"):
            raise Refusal(400, "display_name is required")
        if not pools or int(pools[0].get("replicaCount", 0)) != 1:
            raise Refusal(400, "The replica count of the first worker pool must be 1")
        for pool in pools:
            if not pool.get("machineSpec", {}).get("machineType") or not pool.get("containerSpec", {}).get("imageUri"):
                raise Refusal(400, "machine_spec.machine_type and container_spec.image_uri are required")
        if any(
            word.startswith("{{$")
            for pool in pools
            for word in [*pool["containerSpec"].get("args", []), *job["jobSpec"].get("serviceAccount", "").split()]
        ):
            raise Refusal(400, "a placeholder was not filled in")
        name = f"{request.parent}/customJobs/{number}"
        state["custom"][name] = job | {"name": name, "state": "JOB_STATE_QUEUED", "createTime": self._now(state)}
        return state["custom"][name]

    def _on_get_custom_job(self, request: Any, state: Any) -> Any:
        job = _found(state["custom"], request.name)
        shown = json.loads(json.dumps(job))
        if not self.seen or self.seen[-1] != shown["state"]:
            self.seen.append(shown["state"])
        self._move(job)
        return shown

    def _on_list_custom_jobs(self, request: Any, state: Any) -> Any:
        return _page(state["custom"], request, "customJobs", newest_first=False)

    def _on_cancel_custom_job(self, request: Any, state: Any) -> Any:
        job = _found(state["custom"], request.name)
        if not job["state"].endswith(_ENDED):
            self._end(request.name)
            job["state"] = "JOB_STATE_CANCELLED"
        return {}

    def _move(self, job: dict[str, Any]) -> None:
        """Bring a job on by a step, as time does."""
        name, state = job["name"], job["state"].removeprefix("JOB_STATE_")
        if state == "QUEUED":
            job["state"] = "JOB_STATE_PENDING"
        elif state == "PENDING":
            self._replicas[name], job["state"] = self._started(job), "JOB_STATE_RUNNING"
        elif state == "RUNNING":
            statuses = {replica: process.poll() for replica, process in self._replicas[name]}
            broken = next((replica for replica, status in statuses.items() if status), None)
            if broken:
                status = statuses[broken]
                self._end(name)
                self._fail(job, 3, f"The replica {broken} exited with a non-zero status of {status}. To find out more, please check the logs.")
            elif statuses["workerpool0-0"] == 0 and None not in statuses.values():
                self._end(name)
                job["state"] = "JOB_STATE_SUCCEEDED"

    def _fail(self, job: dict[str, Any], code: int, message: str) -> None:
        job["state"], job["error"] = "JOB_STATE_FAILED", {"code": code, "message": message}

    def _started(self, job: dict[str, Any]) -> list[tuple[str, "subprocess.Popen[bytes]"]]:
        pools = job["jobSpec"]["workerPoolSpecs"]
        places = [(pool, index) for pool, spec in enumerate(pools) for index in range(int(spec["replicaCount"]))]
        addresses = {place: f"127.0.0.1:{free_port()}" for place in places}
        by_pool = {f"workerpool{pool}": [addresses[place] for place in places if place[0] == pool] for pool in range(len(pools))}
        by_task = {_TASKS[int(name[-1])]: addresses for name, addresses in by_pool.items()}
        return [(f"workerpool{pool}-{index}", self._replica(job, pool, index, by_pool, by_task)) for pool, index in places]

    def _replica(self, job: dict[str, Any], pool: int, index: int, by_pool: Any, by_task: Any) -> "subprocess.Popen[bytes]":
        container = job["jobSpec"]["workerPoolSpecs"][pool]["containerSpec"]
        cluster = {"cluster": by_pool, "environment": "cloud", "task": {"type": f"workerpool{pool}", "index": index}}
        config = {"cluster": by_task, "environment": "cloud", "task": {"type": _TASKS[pool], "index": index}}
        programs = environment(str(image_of(container["imageUri"]))).parent
        inside = {"PATH": f"{programs}{os.pathsep}{os.defpath}", "PYTHONPATH": str(_SOURCE), "HOME": str(self._folder), "TMPDIR": str(self._folder)}
        inside |= {"CLUSTER_SPEC": json.dumps(cluster), "TF_CONFIG": json.dumps(config), "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        inside |= {each["name"]: each["value"] for each in container.get("env", [])}
        number = job["name"].rpartition("/")[2]
        with (self._folder / f"{number}-workerpool{pool}-{index}.log").open("ab") as log:
            command = [*container["command"], *container.get("args", [])]
            return subprocess.Popen(command, env=inside, stdout=log, stderr=log, cwd=self._folder, start_new_session=True)

    def _end(self, name: str) -> None:
        """End a job's replicas, and bring what they printed to Cloud Logging."""
        number = name.rpartition("/")[2]
        for replica, process in self._replicas.pop(name, []):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            log = self._folder / f"{number}-{replica}.log"
            for line in log.read_text().splitlines():
                labels = {"job_id": number, "task_name": replica}
                entry = {"logName": "projects/my-project/logs/ml", "resource": {"type": "ml_job", "labels": labels}, "textPayload": line}
                self.state["entries"].append(entry | {"timestamp": self._now(self.state)})
            log.unlink()
