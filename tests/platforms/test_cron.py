"""One cron syntax for both platforms, checked before anything leaves."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.platforms.cron import check_cron, next_time, with_seconds, without_seconds
from intermodal.runtime.errors import ConfigurationError


@pytest.mark.parametrize("cron", ["0 3 * * *", "*/15 * * * *", "0 9-17/2 1,15 JAN-MAR mon-fri", "59 23 31 12 6"])
def test_right_ones_pass(cron):
    check_cron(cron, "Europe/Zurich")


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("0 3 * *", "five fields"),
        ("0 0 3 * * *", "five fields"),
        ("60 3 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 3 0 * *", "day of month"),
        ("0 3 * FOO *", "month"),
        ("0 3 * * 7", "day of week"),
        ("5/2 3 * * *", "minute"),
        ("*/0 3 * * *", "minute"),
        ("30-10 3 * * *", "minute"),
        ("@daily", "five fields"),
        ("٣ 3 * * *", "minute"),
    ],
)
def test_wrong_ones_name_the_field(cron, word):
    with pytest.raises(ConfigurationError, match=word):
        check_cron(cron, "UTC")


@pytest.mark.parametrize("zone", ["Europe/Zurch", "", "../etc/passwd", "CRON"])
def test_a_time_zone_that_is_none_is_refused(zone):
    with pytest.raises(ConfigurationError, match="IANA"):
        check_cron("0 3 * * *", zone)


@given(st.text(max_size=30))
def test_any_text_passes_or_is_refused_in_words(text):
    try:
        check_cron(text, "UTC")
    except ConfigurationError:
        return
    assert len(text.split()) == 5


FIELDS = st.sampled_from(["*", "5", "1-3", "*/2", "1,2"])


@given(st.tuples(*[FIELDS] * 5).map(" ".join))
def test_five_fields_reach_kubeflow_as_six_and_come_back(cron):
    check_cron(cron, "UTC")
    assert with_seconds(cron) == f"0 {cron}"
    assert without_seconds(with_seconds(cron)) == cron


@pytest.mark.parametrize(
    ("cron", "then"),
    [
        ("0 3 * * *", "2026-11-22T03:00"),
        ("30 12 * * *", "2026-11-21T12:30"),
        ("0 3 * * 1", "2026-11-23T03:00"),
        ("0 3 1 * 1", "2026-11-23T03:00"),  # a day of the month or of the week: either
        ("0 0 29 FEB ?", "2028-02-29T00:00"),
        ("0 0 31 2 *", None),
        ("@daily", None),
        ("every 3600 s", None),
        ("", None),
    ],
)
def test_the_next_time_is_after_now(cron, then):
    found = next_time(cron, datetime(2026, 11, 21, 12, 0, tzinfo=UTC))
    assert (found.strftime("%Y-%m-%dT%H:%M") if found else None) == then
