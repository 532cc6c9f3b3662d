"""Whether a gate's decision lets a version become the champion."""

from collections.abc import Mapping
from typing import Any

from intermodal.runtime.errors import StoreError


class ChampionChangedError(StoreError):
    """Another version became the champion after a gate compared with one."""


def is_passed(decision: Mapping[str, Any]) -> bool:
    """Return whether the verdict of `decision.json` is that the model may replace the champion."""
    return bool(decision["verdict"] == "passed")


def check_compared(name: str, version: str, champion: str | None, decision: Mapping[str, Any], registry: str) -> None:
    """Check that the champion is still the one that the gate compared a version with, or that version itself, or that there is none.

    Raises:
        ChampionChangedError: Another version became the champion since.
    """
    compared = None if decision.get("champion_version") is None else str(decision["champion_version"])
    if champion not in (None, version, compared):
        other = f"version {compared}" if compared else "none"
        raise ChampionChangedError(
            f"model registry {registry}: the champion of {name} is now version {champion}, and version {version} was compared with {other};"
            " run the pipeline again"
        )
