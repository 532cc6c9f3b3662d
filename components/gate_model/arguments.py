"""Checks of `gate_model`'s arguments."""

import difflib
from collections.abc import Mapping

from intermodal.evaluation.metrics import METRICS, MINIMUM_BLOCKS
from intermodal.runtime.arguments import ArgumentError, in_range, one_of, whole_number


def check_arguments(
    *,
    minimum: Mapping[str, float],
    maximum: Mapping[str, float],
    margin: Mapping[str, float],
    confidence: float,
    minimum_blocks: int,
    slice_margin: Mapping[str, float],
    slice_minimum_rows: int,
    incomparable: str,
) -> None:
    """Raise ArgumentError for an unknown metric or choice, or a number out of its range."""
    for name, bounds in (("minimum", minimum), ("maximum", maximum)):
        for each, bound in bounds.items():
            _check_metric(f"{name}.{each}", each)
            in_range(f"{name}.{each}", bound)
    for name, margins in (("margin", margin), ("slice_margin", slice_margin)):
        for each, allowed in margins.items():
            _check_metric(f"{name}.{each}", each)
            in_range(f"{name}.{each}", allowed, 0)
    in_range("confidence", confidence, 0.5, 1, open_low=True, open_high=True)
    whole_number("minimum_blocks", minimum_blocks, MINIMUM_BLOCKS)
    whole_number("slice_minimum_rows", slice_minimum_rows, 1)
    one_of("incomparable", incomparable, ("block", "pass"))


def _check_metric(parameter: str, metric: str) -> None:
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, 1, 0)[0]
        raise ArgumentError(parameter, f"{metric!r} is no metric; did you mean {near!r}? There are {', '.join(METRICS)}")
