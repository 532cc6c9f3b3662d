"""CPU, memory and accelerators of a task, spelled as each platform reads them."""

import re
from dataclasses import dataclass
from typing import Any, Final

from intermodal.authoring.images import image_of
from intermodal.compiler.specification import Specification, executor_of, graphs
from intermodal.configuration.targets import Shape
from intermodal.runtime.errors import ConfigurationError, nearest

#: What Vertex AI gives one step at most (its documentation, Specify machine types for a pipeline step).
VERTEX_CPUS, VERTEX_GIGABYTES = 96, 624
_UNITS = {"K": 1e-6, "M": 1e-3, "G": 1.0, "Ki": 2**10 / 1e9, "Mi": 2**20 / 1e9, "Gi": 2**30 / 1e9}


@dataclass(frozen=True)
class Accelerator:
    """One kind of accelerator.

    Attributes:
        vertex: Its name in Vertex AI's `AcceleratorType`.
        resource: Its resource's name on Kubernetes.
        label: The node label by which GKE tells its kind, and its value there.
    """

    vertex: str
    resource: str
    label: tuple[str, str]


def _gpu(vertex: str, node: str) -> Accelerator:
    return Accelerator(vertex, "nvidia.com/gpu", ("cloud.google.com/gke-accelerator", node))


def _tpu(vertex: str, node: str) -> Accelerator:
    return Accelerator(vertex, "google.com/tpu", ("cloud.google.com/gke-tpu-accelerator", node))


#: By the name that a shape in `targets.toml` gives.
ACCELERATORS: Final = {
    "t4": _gpu("NVIDIA_TESLA_T4", "nvidia-tesla-t4"),
    "v100": _gpu("NVIDIA_TESLA_V100", "nvidia-tesla-v100"),
    "l4": _gpu("NVIDIA_L4", "nvidia-l4"),
    "a100": _gpu("NVIDIA_TESLA_A100", "nvidia-tesla-a100"),
    "a100-80gb": _gpu("NVIDIA_A100_80GB", "nvidia-a100-80gb"),
    "h100": _gpu("NVIDIA_H100_80GB", "nvidia-h100-80gb"),
    "tpu-v5e": _tpu("TPU_V5_LITEPOD", "tpu-v5-lite-podslice"),
}


def apply_shape(specification: Specification, task: str, name: str, shape: Shape, platform: str) -> None:
    """Write a shape into a task's executor, in place. Kubeflow reads requests, Vertex AI limits: both are the shape's.

    Args:
        specification: The compiled pipeline.
        task: The task's name, nested ones included.
        name: The shape's name, for messages.
        shape: The shape.
        platform: `kubeflow` or `vertex`.

    Raises:
        ConfigurationError: There is no such task, it runs no container, the accelerator is unknown, or Vertex AI has no such machine.
    """
    resources: dict[str, Any] = {}
    kinds = ("Limit", "Request") if platform == "kubeflow" else ("Limit",)
    for kind in kinds:
        # The fields of two generations of the specification, as kfp 2.17 writes both.
        if shape.cpu is not None:
            resources |= {f"cpu{kind}": shape.cpu, f"resourceCpu{kind}": f"{shape.cpu:g}"}
        if shape.memory is not None:
            resources |= {f"memory{kind}": gigabytes(shape.memory), f"resourceMemory{kind}": shape.memory}
    if platform == "vertex" and ((shape.cpu or 0) > VERTEX_CPUS or (shape.memory and gigabytes(shape.memory) > VERTEX_GIGABYTES)):
        raise ConfigurationError(
            f"shapes.{name}: Vertex AI has no machine of {shape.cpu or '?'} CPUs and {shape.memory}; {VERTEX_CPUS} CPUs and 624G at most"
        )
    if shape.accelerator is not None:
        known = accelerator_of(name, shape)
        kind = known.vertex if platform == "vertex" else known.resource
        resources["accelerator"] = {
            "count": str(shape.accelerators),
            "type": kind,
            "resourceCount": str(shape.accelerators),
            "resourceType": kind,
        }
    container_of(specification, task)["resources"] = resources


def accelerator_of(name: str, shape: Shape) -> Accelerator:
    """Return a shape's accelerator.

    Raises:
        ConfigurationError: There is none of that name; the message names the nearest.
    """
    if shape.accelerator not in ACCELERATORS:
        raise ConfigurationError(f"shapes.{name}: there is no accelerator {shape.accelerator!r}; {nearest(str(shape.accelerator), ACCELERATORS)}")
    return ACCELERATORS[shape.accelerator]


def container_of(specification: Specification, task: str) -> dict[str, Any]:
    """Return the container that a task runs.

    Raises:
        ConfigurationError: There is no such task (the message names the nearest), or it runs none.
    """
    found = {name: each for graph in graphs(specification) for name, each in graph["tasks"].items()}
    running = {name: executor for name, each in found.items() if (executor := executor_of(specification, each)) and "container" in executor}
    if task not in running:
        raise ConfigurationError(
            f"targets.toml: tasks.{task}: there is no task {task!r} that runs a container in this pipeline; {nearest(task, running)}"
        )
    container: dict[str, Any] = running[task]["container"]
    return container


def apply_retries(specification: Specification, retries: int) -> None:
    """Have every task that runs in an image of ours started again when it fails, in place.

    Not Google's own: a second start of those uploads or deploys once more.

    Args:
        specification: The compiled pipeline.
        retries: How often; 0 changes nothing. A task's outputs appear whole or not at all, and its writes are idempotent: a second start is safe.
    """
    for graph in graphs(specification) if retries else ():
        for task in graph["tasks"].values():
            if image_of((executor_of(specification, task) or {}).get("container", {}).get("image", "")):
                task["retryPolicy"] = {"maxRetryCount": retries, "backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": "600s"}


def gigabytes(memory: str) -> float:
    """Return a quantity such as ``16G`` or ``512Mi`` in units of 10^9 bytes."""
    match = re.fullmatch(r"(\d+)([KMG]i?)", memory)
    if not match:
        raise ConfigurationError(f"{memory!r} is not an amount of memory; write for instance 16G or 512Mi")
    return int(match[1]) * _UNITS[match[2]]
