"""Checks of the arguments of `fingerprint_sources`."""

from collections.abc import Sequence
from typing import Any

from intermodal.components.ingest_tables.arguments import check_sources


def check_arguments(*, sources: Sequence[Any]) -> None:
    """Check what `fingerprint_sources` is given: the sources of `ingest_tables`.

    Raises:
        ArgumentError: A source makes no sense.
    """
    check_sources(sources)
