"""A namespace of a real cluster with two small models on a volume; the cluster comes from KUBECONFIG alone."""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from intermodal.cluster.connection import connect
from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.components.deploy_kserve.manifest import candidate_name
from tests.ports import free_port

IMAGE = os.environ.get("INTERMODAL_TEST_PREDICTOR_IMAGE", "")
XS = [-1.0, 0.0, 2.5]
SIGNATURE = {"inputs": [{"name": "x", "type": "number", "required": True}], "output": "probability", "example": {"x": 1.0}}


def save_model(folder: Path, bias: float) -> None:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[{"x": tf.TensorSpec((None,), tf.float64, name="x")}])
    def serve(columns):
        return {"probability": tf.sigmoid(columns["x"] + bias)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    (folder / "signature.json").write_text(json.dumps(SIGNATURE))


def probability(x: float, bias: float) -> float:
    return 1 / (1 + math.exp(-x - bias))


@dataclass(frozen=True)
class Space:
    """A namespace, and how to deploy to it."""

    name: str
    folder: Path

    def arguments(self, model: str, bias: float, version: str, *, service: str = "model", **changes: Any) -> dict[str, Any]:
        work = self.folder / f"{model}-{uuid.uuid4().hex[:6]}"
        work.mkdir()
        smoke = {"instances": [{"x": x} for x in XS], "probabilities": [probability(x, bias) for x in XS]}
        (work / "smoke.json").write_text(json.dumps(smoke))
        (work / "registration.json").write_text(json.dumps({"version": version}))
        return {
            "model_path": str(self.folder / "models" / model),
            "model_uri": f"pvc://models/{model}",
            "name": service,
            "namespace": self.name,
            "evaluation_path": str(work),
            "registration_path": str(work),
            "model_format": "",
            "protocol": "",
            "runtime": "",
            "image": IMAGE,
            "timeout": 240.0,
            "tolerance": 1e-4,
            "resources": {"requests": {"cpu": "10m"}},
            "service_account": "",
            "minimum_replicas": 0,
            "maximum_replicas": 0,
            "port": free_port(),
            "version": "",
            "deployment_path": str(work / "deployment"),
        } | changes

    def service(self, name: str = "model") -> dict[str, Any] | None:
        return Namespace(connect(), self.name).service(name)

    def candidate(self, service: str = "model") -> dict[str, Any] | None:
        """Return the candidate of a service, unless it is on its way out."""
        found = self.service(candidate_name(service, self.name))
        return found if found and not found["metadata"].get("deletionTimestamp") else None

    def lease(self, service: str = "model") -> dict[str, Any] | None:
        return Namespace(connect(), self.name).lease(f"intermodal-{service}")

    def pods(self, service: str = "model") -> dict[str, Any]:
        """Return the pods that a client may reach by the service's name, by uid: those its Service selects, and that are ready."""
        core = client.CoreV1Api()
        try:
            selector = core.read_namespaced_service(f"{service}-predictor", self.name).spec.selector
        except client.ApiException as error:
            assert error.status == 404
            return {}
        found = core.list_namespaced_pod(self.name, label_selector=",".join(f"{key}={value}" for key, value in selector.items())).items
        return {
            pod.metadata.uid: pod
            for pod in found
            if pod.metadata.deletion_timestamp is None and any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or [])
        }

    def models(self, service: str = "model") -> set[str]:
        """Return which models the pods that clients may reach have."""
        return {_model_of(pod) for pod in self.pods(service).values()}

    @contextmanager
    def watched(self, service: str = "model") -> Iterator[set[str]]:
        """Collect meanwhile the models that clients could reach at any moment."""
        seen: set[str] = set()
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                seen.update(self.models(service))
                ended.wait(0.1)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            ended.set()
            thread.join()

    def answers(self, service: str = "model") -> list[float]:
        """Ask every pod that a client may reach for x = 0."""
        found = Namespace(connect(), self.name)
        return [
            found.ask(pod, pod.spec.containers[0].ports[0].container_port, f"v1/models/{service}:predict", {"instances": [{"x": 0.0}]})[
                "predictions"
            ][0]
            for pod in self.pods(service).values()
        ]

    def start(self, arguments: dict[str, Any]) -> "subprocess.Popen[str]":
        """Start `deploy_kserve` as a process of its own, as a task is."""
        code = "import json, sys; from intermodal.components.deploy_kserve.logic import deploy_kserve; deploy_kserve(**json.loads(sys.argv[1]))"
        return subprocess.Popen([sys.executable, "-c", code, json.dumps(arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def until(self, holds: Any, seconds: float = 60) -> Any:
        """Wait until something holds, and return it."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.05)
        return found

    def account(self, *, role: bool) -> str:
        """Make a service account, with our Role or without, and return the path of a kubeconfig that is it."""
        core, rbac, name = client.CoreV1Api(), client.RbacAuthorizationV1Api(), f"deployer-{uuid.uuid4().hex[:6]}"
        core.create_namespaced_service_account(self.name, {"metadata": {"name": name}})
        if role:
            wanted = yaml.safe_load((Path(__file__).resolve().parents[3] / "components" / "deploy_kserve" / "role.yaml").read_text())
            if wanted["metadata"]["name"] not in {each.metadata.name for each in rbac.list_namespaced_role(self.name).items}:
                rbac.create_namespaced_role(self.name, wanted)
            binding = {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": wanted["metadata"]["name"]},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.name}],
            }
            rbac.create_namespaced_role_binding(self.name, binding)
        token = core.create_namespaced_service_account_token(name, self.name, {"spec": {"expirationSeconds": 3600}}).status.token
        kubeconfig = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        for user in kubeconfig["users"]:
            user["user"] = {"token": token}
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(yaml.safe_dump(kubeconfig))
        return str(path)


def _model_of(pod: Any) -> str:
    """Return the model's folder on the volume, as KServe's webhook mounts it."""
    return next(mount.sub_path for mount in pod.spec.containers[0].volume_mounts if mount.mount_path == "/mnt/models")


@pytest.fixture(scope="session")
def space():
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster with KServe: set KUBECONFIG")
    if not IMAGE:
        pytest.skip("needs the predictor's image on the cluster: set INTERMODAL_TEST_PREDICTOR_IMAGE (tests/cluster/image makes it)")
    config.load_kube_config()
    core, name = client.CoreV1Api(), f"deploy-{uuid.uuid4().hex[:8]}"
    # The volume is a folder of this machine, which must be the cluster's node; predictors run as another user.
    folder = Path(tempfile.mkdtemp(prefix="deploy-kserve-"))
    for model, bias in (("one", 0.25), ("two", -0.5)):
        save_model(folder / "models" / model, bias)
    (folder / "models" / "broken").mkdir()
    (folder / "models" / "broken" / "signature.json").write_text(json.dumps(SIGNATURE))
    (folder / "models" / "broken" / "saved_model.pb").write_bytes(b"no graph")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    core.create_namespace({"metadata": {"name": name}})
    capacity = {"storage": "1Gi"}
    core.create_persistent_volume(
        {
            "metadata": {"name": name},
            "spec": {
                "capacity": capacity,
                "accessModes": ["ReadOnlyMany"],
                "storageClassName": "",
                "hostPath": {"path": str(folder / "models")},
                "claimRef": {"namespace": name, "name": "models"},
            },
        }
    )
    core.create_namespaced_persistent_volume_claim(
        name,
        {
            "metadata": {"name": "models"},
            "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": name, "resources": {"requests": capacity}},
        },
    )
    yield Space(name, folder)
    core.delete_namespace(name, propagation_policy="Background")
    core.delete_persistent_volume(name)
    shutil.rmtree(folder)
