"""Glob patterns match what they always matched, and many `**` cost no more than a few."""

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.runtime.tree import matches

_PARTS = st.lists(st.sampled_from(["a", "b", ".h", "ab"]), min_size=1, max_size=5)
_PATTERNS = st.lists(st.sampled_from(["a", "*", "?", ".*", "**", "[ab]", "a*"]), min_size=1, max_size=5)


def by_definition(name, pattern):
    """Try every division of the name, which takes time exponential in the number of `**`."""
    if not pattern or not name:
        return not pattern and not name
    if pattern[0] == "**":
        return by_definition(name, pattern[1:]) or by_definition(name[1:], pattern)
    if name[0].startswith(".") and not pattern[0].startswith("."):
        return False
    return fnmatchcase(name[0], pattern[0]) and by_definition(name[1:], pattern[1:])


@given(_PARTS, _PATTERNS)
def test_a_pattern_matches_what_its_definition_says(name, pattern):
    assert matches("/".join(name), "/".join(pattern)) == by_definition(name, pattern)


@pytest.mark.fault("Data sources", "a pattern with thirty `**`", "it is answered at once, rather than never")
def test_many_double_stars_take_no_time():
    started = time.monotonic()
    assert not matches("/".join(["a"] * 200), "/".join(["**", "a"] * 30 + ["b"]))
    assert time.monotonic() - started < 2
