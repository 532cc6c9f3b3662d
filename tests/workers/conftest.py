"""Tasks as Kubeflow Pipelines starts them, in pods of a real cluster with Kubeflow Trainer; the cluster comes from KUBECONFIG alone."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from kubernetes import client, config

from intermodal.authoring.images import image_of
from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import distributable, searching
from intermodal.platforms.kubeflow.settings import KubeflowSettings
from intermodal.platforms.kubeflow.workers import distribute, tune
from tests.servers.storage import s3_server

ROOT = Path(__file__).resolve().parents[2]
IMAGE = os.environ.get("INTERMODAL_TEST_TRAIN_IMAGE", "")
BUCKET = "pipelines"
KEYS = {"AWS_ACCESS_KEY_ID": "accesskey", "AWS_SECRET_ACCESS_KEY": "secretkey"}
TRAINJOBS = ("trainer.kubeflow.org", "v1alpha1")


@dataclass
class Launched:
    """A task's pod, and what it left."""

    space: "Space"
    pod: str
    root: str
    folder: Path

    def wait(self, seconds: float = 120) -> "Launched":
        """Wait until the pod has ended."""
        self.space.until(lambda: self.phase in ("Succeeded", "Failed"), seconds, lambda: self.log)
        return self

    @property
    def phase(self) -> str:
        return str(self.space.core.read_namespaced_pod(self.pod, self.space.name).status.phase)

    @property
    def status(self) -> int:
        """The exit status of the task's container."""
        (found,) = self.space.core.read_namespaced_pod(self.pod, self.space.name).status.container_statuses
        return int(found.state.terminated.exit_code)

    @property
    def log(self) -> str:
        with contextlib.suppress(client.ApiException):
            raw = self.space.core.read_namespaced_pod_log(self.pod, self.space.name, _preload_content=False)
            return str(raw.data.decode())
        return ""

    @property
    def job(self) -> dict[str, Any] | None:
        """The TrainJob that it made; None: none, or no more."""
        owners = {self.pod, f"{self.pod}-other"}
        found = [each for each in self.space.jobs() if owners & {owner["name"] for owner in each["metadata"].get("ownerReferences", [])}]
        return found[0] if found else None

    def workers(self) -> dict[int, Any]:
        """Return the living pods of its TrainJob by index."""
        if not (job := self.job):
            return {}
        label = f"jobset.sigs.k8s.io/jobset-name={job['metadata']['name']}"
        pods = self.space.core.list_namespaced_pod(self.space.name, label_selector=label).items
        return {
            int(pod.metadata.labels["batch.kubernetes.io/job-completion-index"]): pod
            for pod in pods
            if pod.metadata.deletion_timestamp is None and pod.status.phase in ("Pending", "Running")
        }

    def running(self, index: int) -> Any:
        """Wait until a worker's task has begun, and return its pod."""

        def begun() -> Any:
            pod = self.workers().get(index)
            with contextlib.suppress(client.ApiException):
                raw = self.space.core.read_namespaced_pod_log(pod.metadata.name, self.space.name, _preload_content=False) if pod else None
                return pod if raw and b"second 1\n" in raw.data else None
            return None

        return self.space.until(begun, 90, lambda: self.log)

    def kill(self, module: str = "intermodal.workers.trainjob") -> None:
        """Kill the task's own process as a lost node does: with SIGKILL, and nothing is cleaned up. The node is this machine."""
        marker = f"{self.root}/".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if module.encode() in words[:4] and any(marker in word for word in words):
                    os.kill(int(folder.name), signal.SIGKILL)
        self.wait()

    def output(self, name: str) -> Path:
        """Return the path where kfp's launcher finds an output artifact."""
        return self.folder / "s3" / f"{self.root}/{name}".removeprefix("s3://")

    @property
    def executor_output(self) -> dict[str, Any]:
        """What kfp's launcher reads of the task's metadata and parameters."""
        found: dict[str, Any] = json.loads((self.folder / "kfp_outputs" / "output_metadata.json").read_text())
        return found


@dataclass
class Space:
    """A namespace that is set up as the documentation says, and an object store."""

    name: str
    folder: Path
    endpoint: str
    core: client.CoreV1Api = field(default_factory=client.CoreV1Api)
    custom: client.CustomObjectsApi = field(default_factory=client.CustomObjectsApi)

    @property
    def store(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint, aws_access_key_id="user", aws_secret_access_key="secret", region_name="us-east-1")

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.custom.list_namespaced_custom_object(*TRAINJOBS, self.name, "trainjobs")["items"]
        return found

    def put(self, path: Path) -> str:
        """Upload an input; return its URI."""
        key = f"inputs/{uuid.uuid4().hex[:8]}"
        files = [each for each in sorted(path.rglob("*")) if each.is_file()] if path.is_dir() else []
        for each in files:
            self.store.upload_file(str(each), BUCKET, f"{key}/{each.relative_to(path)}")
        if not files:
            self.store.upload_file(str(path), BUCKET, key)
        return f"s3://{BUCKET}/{key}"

    def launch(
        self,
        component: Any,
        inputs: dict[str, str] | None = None,
        *,
        root: str = "",
        account: str = "intermodal-pipeline",
        after: dict[str, Any] | None = None,
        resources: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        wait: bool = False,
        wrapped: bool = False,
        **parameters: Any,
    ) -> Launched:
        """Start a component's task as Kubeflow Pipelines does.

        Args:
            component: The component.
            inputs: Input artifact to its URI.
            root: URI below which its outputs go: that of an earlier attempt, or a new one.
            account: Service account.
            after: Keys of another pod's specification, after which the workers' pods are made instead of the task's own: one that cannot start.
            resources: Of its container.
            settings: Keys of Kubeflow's table in targets.toml that differ.
            wait: Whether to wait for its end.
            wrapped: Whether its command is Kubeflow's already: it was loaded from its file in compiled/kubeflow.
            parameters: Its parameters.
        """
        specification = compile_specification(component)
        (name,) = [each for each in specification["components"] if each != "comp-root"]
        defined = specification["components"][name]
        given = {"endpoint": "http://unused.example", "root": f"s3://{BUCKET}/root", "image_repository": "unused.example", "start_timeout": 60}
        given |= settings or {}
        for wrap, meant in ((distribute, distributable(specification)), (tune, searching(specification))):
            if name in meant and not wrapped:
                wrap(specification, name, KubeflowSettings.model_validate(given))
        container = specification["deploymentSpec"]["executors"][defined["executorLabel"]]["container"]
        assert image_of(container["image"]) == "train"
        root = root or f"s3://{BUCKET}/root/{uuid.uuid4().hex[:8]}"
        types = defined["inputDefinitions"].get("artifacts", {}), defined.get("outputDefinitions", {}).get("artifacts", {})
        artifacts = [
            {key: {"artifacts": [{"name": key, "uri": uri, "type": kinds[key]["artifactType"], "metadata": {}}]} for key, uri in uris.items()}
            for kinds, uris in zip(types, (inputs or {}, {key: f"{root}/{key}" for key in types[1]}), strict=True)
        ]
        written = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in defined.get("outputDefinitions", {}).get("parameters", {})}
        executor_input = {
            "inputs": {"parameterValues": parameters, "artifacts": artifacts[0]},
            "outputs": {"parameters": written, "artifacts": artifacts[1], "outputFile": "/tmp/kfp_outputs/output_metadata.json"},
        }
        words = [json.dumps(executor_input) if word == "{{$}}" else word for word in [*container["command"], *container["args"]]]
        folder = self.folder / uuid.uuid4().hex[:8]
        for each in ("s3", "kfp_outputs"):
            (folder / each).mkdir(parents=True)
        for each in (folder, *folder.iterdir()):
            each.chmod(0o777)
        pod = f"task-{folder.name}"
        env = [{"name": variable, "valueFrom": {"secretKeyRef": {"name": "store", "key": key}}} for variable, key in KEYS.items()]
        plain = {"KFP_POD_NAME": pod, "ARGO_TEMPLATE": "{}", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.endpoint}
        plain |= {"PYTHONUNBUFFERED": "1", "HOME": "/tmp", "TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        env += [{"name": variable, "value": value} for variable, value in plain.items()]
        if after:
            env[len(KEYS)]["value"] = other = f"{pod}-other"
            main = {"name": "main", "image": after.get("image", IMAGE), "command": ["sleep", "600"], "resources": after.get("resources", {})}
            kept = {key: each for key, each in after.items() if key not in ("image", "resources")}
            self.core.create_namespaced_pod(self.name, {"metadata": {"name": other}, "spec": {"containers": [main | {"env": env}], **kept}})
        self.core.create_namespaced_pod(
            self.name,
            {
                "metadata": {"name": pod, "labels": {"pipeline/runid": "the-run"}},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": account,
                    "terminationGracePeriodSeconds": 30,
                    "containers": [
                        {
                            "name": "main",
                            "image": IMAGE,
                            "command": words,
                            "env": env,
                            "resources": resources or {"requests": {"cpu": "10m"}},
                            "volumeMounts": [{"name": "s3", "mountPath": "/s3"}, {"name": "outputs", "mountPath": "/tmp/kfp_outputs"}],
                        }
                    ],
                    "volumes": [
                        {"name": "s3", "hostPath": {"path": str(folder / "s3")}},
                        {"name": "outputs", "hostPath": {"path": str(folder / "kfp_outputs")}},
                    ],
                },
            },
        )
        launched = Launched(self, pod, root, folder)
        return launched.wait() if wait else launched

    def until(self, holds: Any, seconds: float = 90, why: Any = lambda: "") -> Any:
        """Wait until something holds, and return it."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, f"it did not come about\n{why()}"
            time.sleep(0.2)
        return found


@pytest.fixture(scope="session")
def space(tmp_path_factory) -> Iterator[Space]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster with Kubeflow Trainer: set KUBECONFIG")
    if not IMAGE:
        pytest.skip("needs the image train on the cluster: set INTERMODAL_TEST_TRAIN_IMAGE (tests/cluster/image makes it)")
    config.load_kube_config()
    core, rbac, custom, name = client.CoreV1Api(), client.RbacAuthorizationV1Api(), client.CustomObjectsApi(), f"workers-{uuid.uuid4().hex[:8]}"
    # Tasks write to folders of this machine, which must be the cluster's node, as another user.
    folder = Path(tempfile.mkdtemp(prefix="workers-"))
    folder.chmod(0o755)
    core.create_namespace({"metadata": {"name": name, "labels": {"katib.kubeflow.org/metrics-collector-injection": "enabled"}}})
    core.create_namespaced_secret(name, {"metadata": {"name": "store"}, "stringData": {"accesskey": "user", "secretkey": "not-in-any-manifest"}})
    for file in ("accounts.yaml", "workers.yaml", "searches.yaml"):
        for each in yaml.safe_load_all((ROOT / "infra" / "kubernetes" / file).read_text()):
            if each["kind"] == "ServiceAccount":
                core.create_namespaced_service_account(name, each)
            elif each["kind"] == "Role":
                rbac.create_namespaced_role(name, each)
            elif each["kind"] == "RoleBinding":
                rbac.create_namespaced_role_binding(name, each)
            else:
                assert each["kind"] == "TrainingRuntime"
                custom.create_namespaced_custom_object(*TRAINJOBS, name, "trainingruntimes", each)
    with s3_server(folder) as endpoint:
        made = Space(name, folder, endpoint)
        made.store.create_bucket(Bucket=BUCKET)
        yield made
        core.delete_namespace(name, propagation_policy="Background")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def examples(space, tmp_path_factory):
    """A hundred rows in the store."""
    path = tmp_path_factory.mktemp("examples") / "rows.txt"
    path.write_text(" ".join(f"row{number:03}" for number in range(100)))
    return {"examples": space.put(path)}
