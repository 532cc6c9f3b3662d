"""Checks of `gate_model`'s arguments."""

import difflib
import re
from collections.abc import Mapping, Sequence

from intermodal.evaluation.metrics import METRICS, MINIMUM_BLOCKS
from intermodal.runtime.arguments import ArgumentError, in_range, one_of, texts, whole_number


def check_arguments(
    *,
    minimum: Mapping[str, float],
    maximum: Mapping[str, float],
    margin: Mapping[str, float],
    confidence: float,
    minimum_blocks: int,
    slice_margin: Mapping[str, float],
    slice_minimum: Mapping[str, float],
    slice_maximum: Mapping[str, float],
    slice_minimum_rows: int,
    require_approval: bool,
    approved: Sequence[str],
    incomparable: str,
) -> None:
    """Raise ArgumentError for an unknown metric or choice, or a number out of its range."""
    for name, bounds in (("minimum", minimum), ("maximum", maximum), ("slice_minimum", slice_minimum), ("slice_maximum", slice_maximum)):
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
    texts("approved", approved)
    for number, each in enumerate(approved):
        if not re.fullmatch("[0-9a-f]{12,64}", each):
            raise ArgumentError(f"approved[{number}]", f"{each!r} is not the SHA-256 of a model, or its first 12 digits or more")
    if approved and not require_approval:
        raise ArgumentError("approved", "models are approved, and require_approval is false, so nobody asks; set it to true")
    one_of("incomparable", incomparable, ("block", "pass"))


def _check_metric(parameter: str, metric: str) -> None:
    if metric not in METRICS:
        near = difflib.get_close_matches(metric, METRICS, 1, 0)[0]
        raise ArgumentError(parameter, f"{metric!r} is no metric; did you mean {near!r}? There are {', '.join(METRICS)}")
