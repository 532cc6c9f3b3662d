"""CPU and memory of an executor, as numbers."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from intermodal.targets.linting.document import Document, Place, mapping

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[KMGTPE]i?)?")
_SUFFIXES = {"": 1.0, "m": 1e-3} | {letter + i: base**power for power, letter in enumerate("KMGTPE", 1) for i, base in (("", 1000.0), ("i", 1024.0))}


def resources_of(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield (place, resources) of every container that says what it needs."""
    for label, executor in document.executors.items():
        if found := mapping(mapping(mapping(executor).get("container")).get("resources")):
            yield (0, "deploymentSpec", "executors", label, "container", "resources"), found


def asked(resources: dict[str, Any], kind: str, bound: Literal["Request", "Limit"]) -> float | None:
    """Return a bound in CPUs or gigabytes (10^9 bytes); None where there is none, or a parameter gives it.

    kfp writes both spellings of a bound: `cpuLimit` is a number (gigabytes for memory), `resourceCpuLimit` a Kubernetes quantity. The greater counts.
    """
    number, quantity = resources.get(f"{kind}{bound}"), resources.get(f"resource{kind.title()}{bound}")
    match = _QUANTITY.fullmatch(quantity) if isinstance(quantity, str) else None
    unit = 1e9 if kind == "memory" else 1.0
    found = [float(number)] if isinstance(number, int | float) else []
    found += [float(match[1]) * _SUFFIXES[match[2] or ""] / unit] if match else []
    return max(found, default=None)
