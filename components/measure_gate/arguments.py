"""Checks of `measure_gate`'s arguments."""

from intermodal.runtime.arguments import whole_number


def check_arguments(*, draws: int) -> None:
    """Raise ArgumentError for fewer draws than a rate can be told from."""
    whole_number("draws", draws, 100)
