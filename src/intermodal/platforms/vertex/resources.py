"""A shape as Vertex AI reads it: limits alone, and its own names of accelerators."""

from typing import Any, Final

from intermodal.compiler.resources import accelerator_field, accelerator_name, cpu_and_memory, gigabytes
from intermodal.configuration.targets import Shape
from intermodal.runtime.errors import ConfigurationError

#: What one step has at most (Vertex AI's documentation, Specify machine types for a pipeline step).
CPUS, GIGABYTES = 96, 624
#: By the name that a shape gives: the name in Vertex AI's `AcceleratorType`.
ACCELERATORS: Final = {
    "t4": "NVIDIA_TESLA_T4",
    "v100": "NVIDIA_TESLA_V100",
    "l4": "NVIDIA_L4",
    "a100": "NVIDIA_TESLA_A100",
    "a100-80gb": "NVIDIA_A100_80GB",
    "h100": "NVIDIA_H100_80GB",
    "tpu-v5e": "TPU_V5_LITEPOD",
}


def resources(name: str, shape: Shape) -> dict[str, Any]:
    """Return a container's resources; see `Platform.resources`.

    Raises:
        ConfigurationError: There is no such accelerator, or no such machine.
    """
    if (shape.cpu or 0) > CPUS or (shape.memory and gigabytes(shape.memory) > GIGABYTES):
        raise ConfigurationError(
            f"shapes.{name}: Vertex AI has no machine of {shape.cpu or '?'} CPUs and {shape.memory}; {CPUS} CPUs and {GIGABYTES}G at most"
        )
    made = cpu_and_memory(shape, "Limit")
    if shape.accelerator is not None:
        made |= accelerator_field(shape, ACCELERATORS[accelerator_name(name, shape, ACCELERATORS)])
    return made
