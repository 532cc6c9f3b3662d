"""CPU, memory and accelerators of an executor, as numbers."""

import re
from collections.abc import Iterator
from typing import Any, Literal

from intermodal.linting.document import Document, Place, mapping

#: Kubernetes' grammar of quantities: a number, then a suffix of thousands, of 1024s, or an exponent. There is a `k` and no `K`, a `Ki` and no `ki`.
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?", re.ASCII)
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}
_SUFFIXES |= {letter: 1000.0**power for power, letter in enumerate("MGTPE", 2)} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)
}
_BOUND = re.compile(r"(?:resource)?(cpu|memory)(?:Limit|Request)", re.IGNORECASE)
_MOST_DIGITS = 64


def parse_quantity(text: str) -> float:
    """Return a Kubernetes quantity as a number.

    Raises:
        ValueError: The text is no quantity.
    """
    match = _QUANTITY.fullmatch(text) if len(text) <= _MOST_DIGITS else None
    if match is None:
        raise ValueError(f"{text[:_MOST_DIGITS]!r} is not a quantity")
    exponent = max(-400, min(400, int(match[3] or 0)))
    return float(match[1]) * _SUFFIXES.get(match[2] or "", 1.0) * (10.0**exponent if exponent < 300 else float("inf"))


def is_given_at_run_time(value: Any) -> bool:
    """Whether the value is a placeholder."""
    return isinstance(value, str) and "{{" in value


def resources_of(document: Document) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield (place, resources) of every container that has any."""
    for place, container in document.containers():
        if found := mapping(container.get("resources")):
            yield (*place, "resources"), found


def bounds(resources: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield (key, `cpu` or `memory`, value) of all limits and requests, in both spellings, that are known when compiling."""
    for key, value in resources.items():
        if (match := _BOUND.fullmatch(str(key))) and value not in (None, "") and not is_given_at_run_time(value):
            yield key, match[1].lower(), value


def asked(resources: dict[str, Any], kind: str, bound: Literal["Request", "Limit"]) -> float | None:
    """Return a bound in CPUs or gigabytes (10^9 bytes); None where there is none, a parameter gives it, or it is no quantity.

    kfp writes both spellings of a bound: `cpuLimit` is a number (gigabytes for memory), `resourceCpuLimit` a Kubernetes quantity. The greater counts.
    """
    return max(spellings(resources, kind, bound), default=None)


def spellings(resources: dict[str, Any], kind: str, bound: str) -> list[float]:
    """Return what each spelling of a bound says, in CPUs or gigabytes; one that is not a quantity is left out."""
    number, quantity = resources.get(f"{kind}{bound}"), resources.get(f"resource{kind.title()}{bound}")
    found = [float(number)] if isinstance(number, int | float) and number else []
    try:
        if isinstance(quantity, str) and quantity:
            found.append(parse_quantity(quantity) / (1e9 if kind == "memory" else 1.0))
    except ValueError:
        pass
    return found
