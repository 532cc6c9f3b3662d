"""Checks of `gate_model`'s arguments."""

import difflib
from collections.abc import Mapping

from intermodal.evaluation.metrics import METRICS
from intermodal.runtime.arguments import ArgumentError, in_range, one_of, whole_number


def check_arguments(
    *,
    minimum: Mapping[str, float],
    maximum: Mapping[str, float],
    metric: str,
    tolerance: float,
    confidence: float,
    slice_minimum_rows: int,
    slice_maximum_drop: float,
    incomparable: str,
) -> None:
    """Raise ArgumentError for an unknown metric or choice, or a number out of its range."""
    for name, bounds in (("minimum", minimum), ("maximum", maximum)):
        for each, bound in bounds.items():
            _check_metric(f"{name}.{each}", each)
            in_range(f"{name}.{each}", bound)
    _check_metric("metric", metric)
    in_range("tolerance", tolerance, 0)
    in_range("confidence", confidence, 0.5, 1, open_low=True, open_high=True)
    whole_number("slice_minimum_rows", slice_minimum_rows, 1)
    in_range("slice_maximum_drop", slice_maximum_drop, 0, 1)
    one_of("incomparable", incomparable, ("block", "pass"))


def _check_metric(parameter: str, metric: str) -> None:
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, 1, 0)[0]
        raise ArgumentError(parameter, f"{metric!r} is no metric; did you mean {near!r}? There are {', '.join(METRICS)}")
