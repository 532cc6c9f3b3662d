"""Checks of `deploy_kserve`'s arguments."""

import re
from collections.abc import Mapping
from typing import Any, Final

from intermodal.runtime.arguments import ArgumentError, all_of, in_range, one_of

#: KServe labels the pods with `isvc.NAME-predictor`, and a label has 63 characters.
LONGEST_NAME: Final = 48
#: The value of `model_format` that stands for our own server.
PREDICTOR: Final = "predictor"


def check_arguments(
    *,
    name: str,
    namespace: str,
    model_format: str,
    protocol: str,
    runtime: str,
    timeout: float,
    tolerance: float,
    resources: Mapping[str, Any],
    minimum_replicas: int,
    maximum_replicas: int,
    port: int,
) -> None:
    """Raise ConfigurationError for what Kubernetes or KServe would refuse."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > LONGEST_NAME:
        raise ArgumentError("name", f"{name!r}: use lowercase letters, digits and hyphens, {LONGEST_NAME} at most, a letter first and no hyphen last")
    if namespace and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise ArgumentError("namespace", f"{namespace!r}: use lowercase letters, digits and hyphens, 63 at most")
    one_of("protocol", protocol, ("", "v1", "v2"))
    if model_format == PREDICTOR and (protocol or runtime):
        key = "protocol" if protocol else "runtime"
        raise ArgumentError(key, "it is for the formats of a ServingRuntime; the predictor has none, and speaks v1 and v2")
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
    all_of("resources", resources, ("requests", "limits", "claims"))
    in_range("minimum_replicas", minimum_replicas, 0)
    in_range("maximum_replicas", maximum_replicas, 0)
    if maximum_replicas and minimum_replicas > maximum_replicas:
        raise ArgumentError("maximum_replicas", f"{maximum_replicas} must be at least minimum_replicas, {minimum_replicas}")
    in_range("port", port, 1, 65535)
