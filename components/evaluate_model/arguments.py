"""Checks of `evaluate_model`'s arguments."""

from collections.abc import Sequence

from intermodal.runtime.arguments import ArgumentError, not_empty, texts


def check_arguments(*, label: str, slices: Sequence[str]) -> None:
    """Raise ArgumentError for no label, or slices that are no list of other columns."""
    not_empty("label", label)
    texts("slices", slices)
    reserved = [each for each in slices if each in (label, "label", "block", "challenger", "champion", "reference")]
    if reserved:
        raise ArgumentError("slices", f"{reserved[0]!r} cannot be a slice: the predictions have a column of that name; name another column")
