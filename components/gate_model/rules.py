"""The rules of the gate, checked before anything is judged."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from intermodal.evaluation.intervals import METRICS
from intermodal.runtime.errors import ConfigurationError


@dataclass(frozen=True)
class Rules:
    """`incomparable`: what a champion that cannot score the rows means, `block` or `pass`."""

    minimum: dict[str, float]
    maximum: dict[str, float]
    metric: str
    tolerance: float
    confidence: float
    minimum_rows: int
    maximum_drop: float
    incomparable: str


def parse_rules(rules: dict[str, Any]) -> Rules:
    """Return the rules, with their defaults.

    Raises:
        ConfigurationError: A rule or a metric is unknown (the nearest is named), or a value is out of range.
    """
    _known(rules, ("minimum", "maximum", "metric", "tolerance", "confidence", "slices", "incomparable"), "rule")
    slices = rules.get("slices") or {}
    _known(slices, ("minimum_rows", "maximum_drop"), "rule of slices")
    minimum, maximum = ({name: _number(each, f"{side} {name}") for name, each in (rules.get(side) or {}).items()} for side in ("minimum", "maximum"))
    metric = rules.get("metric", "log_loss")
    _known([*minimum, *maximum, metric], METRICS, "metric")
    confidence = _number(rules.get("confidence", 0.95), "confidence")
    if not 0.5 < confidence < 1:
        raise ConfigurationError(f"gate rule confidence is {confidence:g}; it must lie between 0.5 and 1")
    tolerance = _number(rules.get("tolerance", 0.0), "tolerance")
    if tolerance < 0:
        raise ConfigurationError(f"gate rule tolerance is {tolerance:g}; it must be 0 or more")
    incomparable = rules.get("incomparable", "block")
    _known([incomparable], ("block", "pass"), "value of incomparable")
    rows = int(_number(slices.get("minimum_rows", 200), "slices minimum_rows"))
    return Rules(
        minimum, maximum, metric, tolerance, confidence, rows, _number(slices.get("maximum_drop", 0.05), "slices maximum_drop"), incomparable
    )


def _known(names: Iterable[str], allowed: tuple[str, ...], what: str) -> None:
    for name in names:
        if name not in allowed:
            near = difflib.get_close_matches(str(name), allowed, 1, 0)[0]
            raise ConfigurationError(f"the gate has no {what} {name!r}; did you mean {near!r}? There are {', '.join(allowed)}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ConfigurationError(f"gate rule {name} is {value!r}; it must be a number")
    return float(value)
