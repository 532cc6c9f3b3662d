"""Checks of `promote_model`'s arguments."""

from intermodal.registry.address import check_registry


def check_arguments(*, registry: str) -> None:
    """Raise ArgumentError for a URI that MLflow would refuse."""
    check_registry(registry)
