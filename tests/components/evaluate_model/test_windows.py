"""The name of the rows that judge a model, and which windows have rows in common."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.evaluation.windows import share_rows, window_name

DAYS = st.lists(st.dates().map(str), min_size=1, max_size=20)


@given(DAYS, DAYS)
def test_windows_with_days_in_common_share_rows_and_others_and_neighbours_do_not(one, other):
    names = [window_name(np.asarray(each), np.arange(len(each)) % 2.0, ordered=True) for each in (one, other)]
    met = names[0].split("@")[0] == names[1].split("@")[0] or (min(one) < max(other) and min(other) < max(one))
    assert share_rows(*names) == share_rows(*reversed(names)) == met


def test_the_name_tells_the_first_and_last_day_and_changes_with_the_rows():
    days, label = np.asarray(["2013-10-02", "2013-10-01", "2013-12-31"]), np.asarray([0.0, 1.0, 0.0])
    name = window_name(days, label, ordered=True)
    assert name.endswith("@2013-10-01..2013-12-31")
    assert name.split("@")[0] == window_name(days, label, ordered=False)
    assert name != window_name(days, 1 - label, ordered=True)
    assert window_name(days, label, ordered=True) == name


@pytest.mark.parametrize("other", ["abc", "abc@2013-01-01..2013-02-01", "xyz@2013-03-01..2013-04-01"])
def test_a_window_whose_days_are_not_known_shares_rows_with_itself_alone(other):
    assert share_rows("abc", other) == share_rows(other, "abc") == other.startswith("abc")
