"""Checks of `fetch_champion`'s arguments."""

import re

from intermodal.registry.address import check_address
from intermodal.runtime.arguments import ArgumentError


def check_arguments(*, name: str, registry: str, version: str, model_sha256: str, reference: str) -> None:
    """Raise ArgumentError for a name or a URI that MLflow would refuse, or what is no version or no SHA-256."""
    check_address(name, registry)
    if not re.fullmatch(r"\d*|none", version):
        raise ArgumentError("version", f"{version!r} must be the number of a version, none, or empty for the champion")
    if not re.fullmatch(r"\d*|none", reference):
        raise ArgumentError("reference", f"{reference!r} must be the number of a version, none, or empty")
    if not re.fullmatch(r"([0-9a-f]{64})?", model_sha256):
        raise ArgumentError("model_sha256", f"{model_sha256!r} must be 64 hexadecimal digits, as find_champion returns, or empty")
