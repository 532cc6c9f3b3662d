"""CPU, memory and accelerators of a task, as the specification has them; each platform has its own names for them (`Platform.resources`)."""

import re
from collections.abc import Collection
from typing import Any

from intermodal.authoring.images import image_of
from intermodal.compiler.specification import Specification, executor_of, graphs
from intermodal.configuration.targets import Shape
from intermodal.runtime.errors import ConfigurationError, nearest

_UNITS = {"K": 1e-6, "M": 1e-3, "G": 1.0, "Ki": 2**10 / 1e9, "Mi": 2**20 / 1e9, "Gi": 2**30 / 1e9}


def cpu_and_memory(shape: Shape, *kinds: str) -> dict[str, Any]:
    """Return a shape's CPU and memory as a container's `resources` have them.

    Args:
        shape: The shape.
        kinds: Which of `Limit` and `Request` get the value.
    """
    resources: dict[str, Any] = {}
    for kind in kinds:
        # The fields of two generations of the specification, as kfp 2.17 writes both.
        if shape.cpu is not None:
            resources |= {f"cpu{kind}": shape.cpu, f"resourceCpu{kind}": f"{shape.cpu:g}"}
        if shape.memory is not None:
            resources |= {f"memory{kind}": gigabytes(shape.memory), f"resourceMemory{kind}": shape.memory}
    return resources


def accelerator_field(shape: Shape, kind: str) -> dict[str, Any]:
    """Return a shape's accelerators as a container's `resources` have them; `kind` is the platform's name for them."""
    count = str(shape.accelerators)
    return {"accelerator": {"count": count, "type": kind, "resourceCount": count, "resourceType": kind}}


def accelerator_name(name: str, shape: Shape, known: Collection[str]) -> str:
    """Return the name of a shape's accelerator.

    Args:
        name: The shape's name, for the message.
        shape: The shape.
        known: The platform's accelerators.

    Raises:
        ConfigurationError: The platform has none of that name; the message names the nearest.
    """
    wanted = str(shape.accelerator)
    if wanted not in known:
        raise ConfigurationError(f"shapes.{name}: there is no accelerator {wanted!r}; {nearest(wanted, known)}")
    return wanted


def wants_gpu(shape: Shape) -> bool:
    """Return whether a shape has NVIDIA's accelerators, rather than none or TPUs."""
    return shape.accelerator is not None and not shape.accelerator.startswith("tpu")


def container_of(specification: Specification, task: str) -> dict[str, Any]:
    """Return the container that a task runs.

    Raises:
        ConfigurationError: There is no such task (the message names the nearest), or it runs no container.
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
    """Set a retry policy on every task that runs in one of the project's images, in place.

    Google's own components get none: a second attempt would upload or deploy again.

    Args:
        specification: The compiled pipeline.
        retries: How often; 0 changes nothing. A task's outputs appear whole or not at all, and its writes are idempotent: a second attempt is safe.
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
