"""Checks of the parameters of Vertex AI's deploy step."""

import re

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty

_NAMES = {
    "endpoint": r"projects/[^/]+/locations/[^/]+/endpoints/[^/]+",
    "parent_model": r"projects/[^/]+/locations/[^/]+/models/[^/]+",
}


def check_arguments(
    *,
    parent_model: str,
    machine_type: str,
    minimum_replicas: int,
    maximum_replicas: int,
    timeout: float,
    tolerance: float,
    endpoint: str = "",
) -> None:
    """Raise ArgumentError for a resource's name that is none, or a number out of its range."""
    for parameter, value in (("endpoint", endpoint), ("parent_model", parent_model)):
        if value and not re.fullmatch(_NAMES[parameter], value):
            raise ArgumentError(parameter, f"{value!r} must be projects/PROJECT/locations/REGION/{parameter.removeprefix('parent_')}s/ID")
    not_empty("machine_type", machine_type)
    in_range("minimum_replicas", minimum_replicas, 1)
    in_range("maximum_replicas", maximum_replicas, 0)
    if maximum_replicas and minimum_replicas > maximum_replicas:
        raise ArgumentError("maximum_replicas", f"{maximum_replicas} must be at least minimum_replicas, {minimum_replicas}")
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
