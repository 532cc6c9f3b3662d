"""Checks of `find_champion`'s arguments."""

from intermodal.registry.address import check_address


def check_arguments(*, name: str, registry: str) -> None:
    """Raise ArgumentError for a name or a URI that MLflow would refuse."""
    check_address(name, registry)
