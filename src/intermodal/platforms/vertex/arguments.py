"""Checks of the deploy step's settings (`deploy_on_vertex`)."""

import re

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty


def check_arguments(
    *, endpoint: str, machine_type: str, minimum_replicas: int, maximum_replicas: int, parent_model: str, timeout: float, tolerance: float
) -> None:
    """Raise ConfigurationError for what Vertex AI would refuse."""
    if not re.fullmatch(r"projects/[^/]+/locations/[^/]+/endpoints/[^/]+", endpoint):
        raise ArgumentError("endpoint", f"{endpoint!r} must be projects/PROJECT/locations/REGION/endpoints/ID")
    if parent_model and not re.fullmatch(r"projects/[^/]+/locations/[^/]+/models/[^/]+", parent_model):
        raise ArgumentError("parent_model", f"{parent_model!r} must be projects/PROJECT/locations/REGION/models/ID")
    not_empty("machine_type", machine_type)
    in_range("minimum_replicas", minimum_replicas, 1)
    in_range("maximum_replicas", maximum_replicas, 0)
    if maximum_replicas and minimum_replicas > maximum_replicas:
        raise ArgumentError("maximum_replicas", f"{maximum_replicas} must be at least minimum_replicas, {minimum_replicas}")
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
