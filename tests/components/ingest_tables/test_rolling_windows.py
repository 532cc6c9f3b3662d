"""Windows that are counted back from where the data ends: they roll as rows are added, and stay as they are within a step."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.components.ingest_tables.windows import check_windows, data_end, parse_step
from intermodal.runtime.errors import ConfigurationError, DataError
from tests.components.ingest_tables.conftest import call

PARTS = {"train": {"start": "-40 days", "end": "-15 days"}, "validation": {"start": "-15 days", "end": "-10 days"}, "test": {"start": "-10 days"}}
ROLLING = {"table": "rows", "by": "time", "column": "at", "parts": PARTS}
FIRST = datetime(2024, 1, 1, tzinfo=UTC)


def hours(days: float) -> pa.Table:
    times = [FIRST + timedelta(hours=hour) for hour in range(int(days * 24))]
    return pa.table({"id": range(len(times)), "at": pa.array(times, pa.timestamp("us", "UTC"))})


def bounds(entry: dict) -> dict:
    return {part: (each["start"], each["end"]) for part, each in entry["splits"].items() if part != "none"}


def test_windows_are_counted_back_from_the_end_of_the_datas_last_day(ingest):
    entry = ingest(ingest.put("a.parquet", hours(60.5)), split=ROLLING)  # the last row is of 1 March, 11 o'clock
    assert bounds(entry) == {
        "train": ("2024-01-22T00:00:00Z", "2024-02-16T00:00:00Z"),
        "validation": ("2024-02-16T00:00:00Z", "2024-02-21T00:00:00Z"),
        "test": ("2024-02-21T00:00:00Z", "2024-03-02T00:00:00Z"),
    }
    assert {part: each["rows"] for part, each in entry["splits"].items()} == {
        "train": 25 * 24,
        "validation": 5 * 24,
        "test": 9 * 24 + 12,
        "none": 21 * 24,
    }
    assert min(ingest.read("test")["at"].to_pylist()) == datetime(2024, 2, 21, tzinfo=UTC)


def test_a_day_more_of_data_moves_each_window_by_a_day_and_a_row_more_by_nothing(ingest):
    first = bounds(ingest(ingest.put("a.parquet", hours(60)), split=ROLLING))
    assert bounds(ingest(ingest.put("a.parquet", hours(61)), split=ROLLING))["test"] == ("2024-02-21T00:00:00Z", "2024-03-02T00:00:00Z")
    assert first["test"] == ("2024-02-20T00:00:00Z", "2024-03-01T00:00:00Z")
    assert bounds(ingest(ingest.put("a.parquet", hours(59.1)), split=ROLLING)) == first


def test_a_step_as_long_as_the_test_window_gives_each_step_rows_of_its_own(ingest):
    seen = {}
    for days in range(70, 100):
        entry = ingest(ingest.put("a.parquet", hours(days)), split=ROLLING | {"step": "10 days"})
        seen.setdefault(bounds(entry)["test"], set()).update(ingest.read("test")["id"].to_pylist())
    windows = sorted(seen)
    assert len(windows) == 4
    assert all(len(rows) == 240 for rows in seen.values())
    assert all(one[1] == other[0] for one, other in pairwise(windows))


def test_the_same_rows_in_any_order_give_the_same_windows(ingest):
    table = hours(60)
    one = ingest(ingest.put("a.parquet", table), split=ROLLING)
    ingest.put("b/0.parquet", table.slice(700).take(list(reversed(range(740)))))
    ingest.put("b/1.parquet", table.slice(0, 700))
    other = ingest(str(ingest.folder / "b"), split=ROLLING)
    assert bounds(one) == bounds(other)
    assert {part: each["rows"] for part, each in one["splits"].items()} == {part: each["rows"] for part, each in other["splits"].items()}


def test_a_given_end_leaves_later_rows_out_and_is_rounded_down_to_the_step(ingest):
    path = ingest.put("a.parquet", hours(60))
    entry = ingest(path, split=ROLLING | {"end": "2024-02-25T02:17:00Z"})
    assert bounds(entry)["test"] == ("2024-02-15T00:00:00Z", "2024-02-25T00:00:00Z")
    assert max(ingest.read("test")["at"].to_pylist()) == datetime(2024, 2, 24, 23, tzinfo=UTC)
    hourly = ingest(path, split=ROLLING | {"end": "2024-02-25T03:17:00+01:00", "step": "1 hour"})
    assert bounds(hourly)["test"] == ("2024-02-15T02:00:00Z", "2024-02-25T02:00:00Z")


def test_fixed_and_rolling_bounds_go_together_until_they_overlap(ingest):
    path = ingest.put("a.parquet", hours(60))
    parts = {"train": {"end": "2024-02-01T00:00:00Z"}, "test": {"start": "-10 days"}}
    assert bounds(ingest(path, split=ROLLING | {"parts": parts}))["train"] == (None, "2024-02-01T00:00:00Z")
    parts["train"] = {"end": "2024-02-25T00:00:00Z"}
    with pytest.raises(
        DataError, match=r"the windows of train and test overlap.*as the data of table 'rows' ends 2024-03-01T00:00:00Z; move the window"
    ):
        ingest(path, split=ROLLING | {"parts": parts})


def test_training_takes_what_there_is_where_its_window_is_longer_than_the_data(ingest):
    parts = PARTS | {"train": {"start": "-900 days", "end": "-15 days"}}
    assert ingest(ingest.put("a.parquet", hours(60)), split=ROLLING | {"parts": parts})["splits"]["train"]["rows"] == 45 * 24


def test_windows_longer_than_the_data_are_refused_with_both(ingest):
    message = (
        r"'train' of table 'rows' gets no row; column 'at' runs from 2024-01-01T00:00:00Z to 2024-01-08T23:00:00Z, "
        r"the part from 2023-11-30T00:00:00Z to 2023-12-25T00:00:00Z; shorten the windows, or give older data"
    )
    with pytest.raises(DataError, match=message):
        ingest(ingest.put("a.parquet", hours(8)), split=ROLLING)
    assert not ingest.output.exists()


def test_a_column_without_a_time_has_no_end(ingest):
    empty = pa.table({"id": [1], "at": pa.array([None], pa.timestamp("us", "UTC"))})
    with pytest.raises(DataError, match="'at' of table 'rows' has no time to count windows back from; give `split_end`"):
        ingest(ingest.put("a.parquet", empty), split=ROLLING)


@pytest.mark.fault(
    "Configuration", "rolling windows with a wrong sign, unit, step or end", "refused before any data is read, with the value and the remedy"
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": PARTS | {"test": {"start": "10 days"}}}, r"split_parts.test: start '10 days' lies after the end of the data; write -10 days"),
        ({"parts": PARTS | {"test": {"start": "+10 days"}}}, "lies after the end of the data; write -10 days"),
        ({"parts": PARTS | {"test": {"start": -10}}}, "split_parts.test: start '-10' has no unit; write -10 days"),
        ({"parts": PARTS | {"test": {"start": "-3 months"}}}, "there is no unit 'months'; write minutes, hours, days or weeks"),
        ({"parts": {"test": {"start": "-10 days", "end": "-20 days"}}}, "split_parts.test: start -10 days is not before end -20 days"),
        ({"parts": {"test": {"start": "-0 days"}}}, "start -0 days is not before the end of the data"),
        ({"parts": PARTS | {"test": {"start": "-11 days"}}}, "the windows of validation and test overlap"),
        ({"parts": {"a": {"start": "-3 d4ys"}}}, "'-3 d4ys' is not an ISO 8601 time; .*, or -90 days to count back"),
        ({"step": "0 days"}, "split_step: '0 days' must be a whole number of minutes, hours, days or weeks above 0, for instance 7 days"),
        ({"step": "-1 day"}, "split_step: '-1 day' must be a whole number"),
        ({"step": "1 month"}, "split_step: '1 month': there is no unit 'month'"),
        ({"end": "tomorrow"}, "split_end: 'tomorrow' is not an ISO 8601 time"),
        ({"end": "2024-01-01"}, "split_end: '2024-01-01' has no time zone"),
        ({"end": "2024-01-01T00:00:00Z", "parts": {"test": {"start": "2023-01-01T00:00:00Z"}}}, "split_end: .* does nothing"),
        ({"end": "2024-01-01T00:00:00Z", "by": "hash", "parts": {"test": 1.0}}, "split_end: it is for windows of time"),
        ({"end": "2024-03-01T00:00:00Z", "parts": {"a": {"end": "2024-02-25T00:00:00Z"}, "b": {"start": "-9 days"}}}, "windows of a and b overlap"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_before_any_data_is_read(ingest, change, message):
    with pytest.raises(ConfigurationError, match=message):
        ingest("there/is/no/such/file.parquet", split=ROLLING | change)


UNITS = {"minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}


@given(st.integers(-(10**15), 4 * 10**15), st.integers(1, 400), st.sampled_from(sorted(UNITS)), st.integers(0, 10**13))
def test_data_ends_at_a_whole_step_near_its_last_time_and_never_moves_back(last, number, unit, later):
    size = parse_step(f"{number} {unit}")
    end = data_end(last, size)
    assert size == number * UNITS[unit] * 1_000_000
    assert -size < end - last <= max(min(size, 86_400_000_000), 1)
    assert end <= data_end(last + later, size)
    assert (end - data_end(0, size)) % size == 0


def test_a_week_begins_on_monday():
    last = (datetime(2024, 5, 16, 12, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)  # a Thursday
    assert data_end(last, parse_step("1 week")) == (datetime(2024, 5, 13, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4, unique=True), st.sampled_from(sorted(UNITS)))
def test_windows_in_order_are_taken_in_whatever_order_they_are_written(spans, unit):
    far, middle, near, nearest = sorted(spans, reverse=True)
    parts = {"a": {"start": f"-{far} {unit}", "end": f"-{middle} {unit}"}, "b": {"start": f"-{near} {unit}", "end": f"-{nearest} {unit}"}}
    check_windows(parts, "", "1 day")
    check_windows(dict(reversed(parts.items())), "", "1 day")


def test_the_function_returns_the_windows_it_wrote(ingest):
    from intermodal.components.ingest_tables.logic import ingest_tables

    found = {}
    call(lambda **given: found.update(ingest_tables(**given)), [{"name": "rows", "uri": ingest.put("a.parquet", hours(60))}], ingest.output, ROLLING)
    listed = json.loads((ingest.output / "manifest.json").read_text())["tables"]["rows"]["splits"]
    assert found == {part: {"start": each["start"], "end": each["end"]} for part, each in listed.items() if part != "none"}
