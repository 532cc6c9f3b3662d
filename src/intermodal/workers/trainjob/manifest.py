"""The TrainJob of a task: its name, and its pods made after the task's own pod."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from intermodal.runtime.errors import ConfigurationError, PlatformError
from intermodal.workers.executor_input import FOLDERS, Task
from intermodal.workers.ownership import SPECIFICATION
from intermodal.workers.trainjob.api import API_VERSION

#: Annotation of a TrainJob: the folder that its workers share.
EXCHANGE: Final = "intermodal/exchange"
#: The replicated job, and its container, that a runtime has for the workers: Trainer's own runtimes call both so.
NODE: Final = "node"
_MANAGER: Final = "intermodal/launcher"
#: Where a patch of the runtime's pods goes, by version of Trainer: from 2.2 on, 2.1, 2.0.
_PATCHES: Final = ("runtimePatches", "podTemplateOverrides", "podSpecOverrides")
#: Variables that the backend gives to the pod of a task, and that say nothing to its workers.
_BACKENDS: Final = ("ARGO_", "KFP_", "KUBERNETES_", "METADATA_", "ML_PIPELINE_", "MLMD_")
_SCRATCH: Final = "intermodal-artifacts"
_VOLUMES: Final = ("persistentVolumeClaim", "secret", "configMap", "nfs", "csi")
#: Volumes that the backend mounts, by how their names start.
_BACKENDS_VOLUMES: Final = ("argo", "kfp-", "ca-", "kube-api-access", "var-run-argo")


@dataclass(frozen=True)
class Settings:
    """What the platform's settings say of the workers.

    Attributes:
        runtime: ``KIND/NAME`` of the training runtime.
        queue: Kueue's queue. Empty: none.
        timeout: Seconds after which all pods are ended. 0: no limit.
        start_timeout: Seconds for which pods may wait for images and machines. 0: no limit.
    """

    runtime: str
    queue: str
    timeout: int
    start_timeout: int


def job_name(task: Task, run: str) -> str:
    """Return the name of a task's TrainJob: every attempt of one task of one run gives the same, and no other task does.

    Args:
        task: The task. Where its outputs go differs between runs, tasks and iterations of a loop.
        run: The run's id; empty where there is none.
    """
    places = json.dumps([run, task.name, [each.uri for each in task.outputs]])
    digest = hashlib.sha256(places.encode()).hexdigest()[:10]
    # JobSet makes names of pods from it, 63 characters at most.
    return f"{task.name.replace('_', '-').lower()[:30].strip('-')}-{digest}"


def folder_of(task: Task) -> str:
    """Return the URI of the folder that holds a task's outputs.

    Raises:
        ConfigurationError: It has no output artifact.
    """
    if not task.outputs:
        raise ConfigurationError(f"{task.name} has no output artifact, so there is no place that its workers share; give it one, or set workers=1")
    return task.outputs[0].uri.rstrip("/").rpartition("/")[0]


def checkpoints_of(task: Task) -> str:
    """Return the URI of the folder for a task's checkpoints: that of every attempt."""
    # As any client of S3 calls it; its address goes with it.
    return f"{folder_of(task)}/.checkpoints".replace("minio://", "s3://", 1)


def make(
    *, name: str, exchange: str, task: Task, command: list[str], workers: int, settings: Settings, pod: dict[str, Any], fields: Collection[str]
) -> dict[str, Any]:
    """Return a TrainJob whose pods run a task's command with the image, the resources and the secrets of the task's own pod.

    Args:
        name: Its name.
        exchange: URI of the folder that its workers share.
        task: The task.
        command: The task's command.
        workers: How many pods.
        settings: What the platform's settings say.
        pod: The task's own pod.
        fields: The fields of a TrainJob's `spec` that the installed Trainer has.

    Raises:
        PlatformError: The installed Trainer lacks what is asked for.
    """
    container = own_container(pod)
    kind, _, runtime = settings.runtime.rpartition("/")
    member = ["python3", "-m", "intermodal.workers.member", "--exchange", exchange, "--workers", str(workers)]
    member += ["--checkpoints", checkpoints_of(task), "--patience", str(settings.start_timeout or 24 * 3600)]
    trainer = {
        "numNodes": workers,
        "image": container["image"],
        "command": [*member, "--", *command],
        "env": variables_of(container),
        "resourcesPerNode": {key: each for key, each in container.get("resources", {}).items() if each},
    }
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": API_VERSION.partition("/")[0], "kind": kind or "TrainingRuntime", "name": runtime},
        "trainer": {key: each for key, each in trainer.items() if each},
    }
    if patched := placement_of(pod, container, task):
        spec |= _patch(patched, fields)
    if settings.timeout:
        if "activeDeadlineSeconds" not in fields:
            raise PlatformError("the installed Kubeflow Trainer cannot end a TrainJob after a time; install 2.2 or later, or set no training_timeout")
        spec["activeDeadlineSeconds"] = settings.timeout
    labels = {"app.kubernetes.io/managed-by": "intermodal"} | ({"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {})
    compared = json.dumps(spec, sort_keys=True).replace(exchange, "")
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {SPECIFICATION: hashlib.sha256(compared.encode()).hexdigest()[:16], EXCHANGE: exchange},
            "ownerReferences": [owner_reference(pod)],
        },
        "spec": spec,
    }


def owner_reference(pod: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a pod the owner of an object: it is deleted with the pod, however that ends."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"], "blockOwnerDeletion": False}


def own_container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the container that runs the task's command: the only one, or that which Argo calls main.

    Raises:
        ConfigurationError: There are several, and none of that name.
    """
    containers: list[dict[str, Any]] = pod["spec"]["containers"]
    found = next((each for each in containers if each["name"] == "main"), containers[0])
    if found["name"] != "main" and len(containers) > 1:
        raise ConfigurationError(f"pod {pod['metadata']['name']} has several containers and none is called main, as Argo calls the task's")
    return found


def variables_of(container: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the variables that the task's author set; secrets stay references."""
    return [
        each
        for each in container.get("env", [])
        if not each["name"].startswith(_BACKENDS) and ("value" in each or {"secretKeyRef", "configMapKeyRef"} & set(each.get("valueFrom", {})))
    ]


def placement_of(pod: dict[str, Any], container: dict[str, Any], task: Task | None = None) -> dict[str, Any]:
    """Return what the workers' pods take from the task's pod beside its container: where it may run, as whom, and the volumes of its author.

    Args:
        pod: The task's pod.
        container: Its container that runs the task's command.
        task: The task: the folders where kfp has its artifacts are made, for an image has none at its root, nor does a runtime of Trainer's own.
            Default: none are made.
    """
    spec = pod["spec"]
    kept = {
        "serviceAccountName": spec.get("serviceAccountName"),
        "nodeSelector": spec.get("nodeSelector"),
        "imagePullSecrets": spec.get("imagePullSecrets"),
        # Kubernetes itself adds those of a node that is lost.
        "tolerations": [each for each in spec.get("tolerations", []) if not each.get("key", "").startswith("node.kubernetes.io/")],
    }
    volumes = [each for each in spec.get("volumes", []) if not each["name"].startswith(_BACKENDS_VOLUMES) and any(kind in each for kind in _VOLUMES)]
    names = {each["name"] for each in volumes}
    mounts = [each for each in container.get("volumeMounts", []) if each["name"] in names]
    paths = [str(each.path) for each in [*task.inputs, *task.outputs]] if task else []
    needed = {folder.rstrip("/") for folder in FOLDERS.values() if any(path.startswith(folder) for path in paths)}
    if made := sorted(needed - {each["mountPath"] for each in mounts}):
        volumes.append({"name": _SCRATCH, "emptyDir": {}})
        mounts += [{"name": _SCRATCH, "mountPath": folder, "subPath": folder.strip("/")} for folder in made]
    if mounts:
        kept |= {"volumes": volumes, "containers": [{"name": NODE, "volumeMounts": mounts}]}
    return {key: each for key, each in kept.items() if each}


def _patch(pod: dict[str, Any], fields: Collection[str]) -> dict[str, Any]:
    """Return a patch of the runtime's pods, as the installed version of Trainer takes it.

    Raises:
        PlatformError: It takes none that is known.
    """
    field = next((each for each in _PATCHES if each in fields), None)
    if field == "runtimePatches":
        job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
        return {field: [{"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}]}
    if field == "podTemplateOverrides":
        return {field: [{"targetJobs": [{"name": NODE}], "spec": pod}]}
    if field == "podSpecOverrides":
        # It knows no imagePullSecrets; the pods get those of their service account, which is the task's own.
        return {field: [{"targetJobs": [{"name": NODE}], **{key: each for key, each in pod.items() if key != "imagePullSecrets"}}]}
    raise PlatformError(f"the installed Kubeflow Trainer takes no patch of its pods ({', '.join(_PATCHES)}); install a version from 2.0 to 2.3")
