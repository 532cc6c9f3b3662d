"""Checks of `verify_endpoint`'s arguments."""

import re

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty, one_of


def check_arguments(*, url: str, name: str, credentials: str, timeout: float, tolerance: float) -> None:
    """Raise ConfigurationError for a URL, a choice or a number that cannot be used."""
    if not re.match(r"https?://[^/]", url):
        raise ArgumentError("url", f"{url!r}: give an address that begins with http:// or https://")
    not_empty("name", name)
    one_of("credentials", credentials, ("none", "google"))
    in_range("timeout", timeout, 0, open_low=True)
    in_range("tolerance", tolerance, 0)
