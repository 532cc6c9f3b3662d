"""A shape as Kubeflow reads it: requests and limits, and the names that Kubernetes and GKE have for accelerators."""

from typing import Any, Final

from intermodal.compiler.resources import accelerator_field, accelerator_name, cpu_and_memory
from intermodal.configuration.targets import Shape


def _gpu(node: str) -> tuple[str, tuple[str, str]]:
    return "nvidia.com/gpu", ("cloud.google.com/gke-accelerator", node)


#: By the name that a shape gives: the resource's name on Kubernetes; the node label by which GKE tells its kind, and its value there.
ACCELERATORS: Final = {
    "t4": _gpu("nvidia-tesla-t4"),
    "v100": _gpu("nvidia-tesla-v100"),
    "l4": _gpu("nvidia-l4"),
    "a100": _gpu("nvidia-tesla-a100"),
    "a100-80gb": _gpu("nvidia-a100-80gb"),
    "h100": _gpu("nvidia-h100-80gb"),
    "tpu-v5e": ("google.com/tpu", ("cloud.google.com/gke-tpu-accelerator", "tpu-v5-lite-podslice")),
}


def resources(name: str, shape: Shape) -> dict[str, Any]:
    """Return a container's resources; see `Platform.resources`.

    Raises:
        ConfigurationError: There is no such accelerator.
    """
    made = cpu_and_memory(shape, "Limit", "Request")
    if shape.accelerator is not None:
        made |= accelerator_field(shape, ACCELERATORS[accelerator_name(name, shape, ACCELERATORS)][0])
    return made


def node_label(name: str, shape: Shape) -> tuple[str, str]:
    """Return the node label, and its value, of a shape's accelerator.

    Raises:
        ConfigurationError: There is no such accelerator.
    """
    return ACCELERATORS[accelerator_name(name, shape, ACCELERATORS)][1]
