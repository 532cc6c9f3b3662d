"""Checks of `serve_model`'s arguments."""

import re

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty


def check_arguments(*, name: str, port: int, timeout: float, tolerance: float, deployments: str) -> None:
    """Raise ConfigurationError for a name or a number that no server takes."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise ArgumentError("name", f"{name!r}: use lowercase letters, digits and hyphens")
    in_range("port", port, 1, 65535)
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
    not_empty("deployments", deployments)
