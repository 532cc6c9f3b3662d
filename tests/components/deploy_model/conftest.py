"""A namespace of a real cluster with two small models on a volume; the cluster comes from KUBECONFIG alone."""

import json
import math
import os
import shutil
import socket
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

IMAGE = os.environ.get("INTERMODAL_TEST_PREDICTOR_IMAGE", "")
XS = [-1.0, 0.0, 2.5]


def free_port() -> int:
    """The test cluster puts pods on the host's network, so that every predictor needs a port of its own."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def save_model(folder: Path, bias: float) -> None:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[{"x": tf.TensorSpec((None,), tf.float64, name="x")}])
    def serve(columns):
        return {"probability": tf.sigmoid(columns["x"] + bias)}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    signature = {"inputs": [{"name": "x", "type": "number", "required": True}], "output": "probability", "example": {"x": 1.0}}
    (folder / "signature.json").write_text(json.dumps(signature))


@dataclass(frozen=True)
class Space:
    """A namespace, and how to deploy to it."""

    name: str
    folder: Path

    def arguments(self, model: str, bias: float, version: str, *, image: str = IMAGE, service: str = "model", **serving: Any) -> dict[str, Any]:
        work = self.folder / f"{model}-{uuid.uuid4().hex[:6]}"
        work.mkdir()
        smoke = {"instances": [{"x": x} for x in XS], "probabilities": [1 / (1 + math.exp(-x - bias)) for x in XS]}
        (work / "smoke.json").write_text(json.dumps(smoke))
        (work / "registration.json").write_text(json.dumps({"version": version}))
        return {
            "model_uri": f"pvc://models/{model}",
            "evaluation_path": str(work),
            "registration_path": str(work),
            "namespace": self.name,
            "service_name": service,
            "serving": {"image": image, "port": free_port(), "timeout": 90, "resources": {"requests": {"cpu": "10m"}}} | serving,
            "deployment_path": str(work / "deployment"),
        }

    def service(self, name: str = "model") -> dict[str, Any] | None:
        try:
            return client.CustomObjectsApi().get_namespaced_custom_object("serving.kserve.io", "v1beta1", self.name, "inferenceservices", name)
        except client.ApiException as error:
            assert error.status == 404
            return None

    def account(self, *, role: bool) -> str:
        """Make a service account, with our Role or without, and return the path of a kubeconfig that is it."""
        core, rbac, name = client.CoreV1Api(), client.RbacAuthorizationV1Api(), f"deployer-{uuid.uuid4().hex[:6]}"
        core.create_namespaced_service_account(self.name, {"metadata": {"name": name}})
        if role:
            wanted = yaml.safe_load((Path(__file__).resolve().parents[3] / "components" / "deploy_model" / "role.yaml").read_text())
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


@pytest.fixture(scope="session")
def space():
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a cluster with KServe: set KUBECONFIG")
    if not IMAGE:
        pytest.skip("needs the predictor's image on the cluster: set INTERMODAL_TEST_PREDICTOR_IMAGE (tests/cluster/predictor_image makes it)")
    config.load_kube_config()
    core, name = client.CoreV1Api(), f"deploy-{uuid.uuid4().hex[:8]}"
    # The volume is a folder of this machine, which must be the cluster's node; predictors run as another user.
    folder = Path(tempfile.mkdtemp(prefix="deploy-model-"))
    for model, bias in (("one", 0.25), ("two", -0.5)):
        save_model(folder / "models" / model, bias)
    (folder / "models" / "broken").mkdir()
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
