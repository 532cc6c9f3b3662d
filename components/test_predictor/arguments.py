"""Checks of `test_predictor`'s arguments."""

from intermodal.runtime.arguments import in_range


def check_arguments(*, timeout: float, tolerance: float) -> None:
    """Raise ConfigurationError for a number out of range."""
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
