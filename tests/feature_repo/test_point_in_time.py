"""What the flights' features are, recomputed in plain Python from the tables and from the raw rows."""

import importlib.util
import random
from bisect import bisect_right
from collections import defaultdict
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow.parquet as pq
import pytest

from .conftest import REPOSITORY, table
from .knowledge import arrived, departed

HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)


def feature_views() -> list[Any]:
    specification = importlib.util.spec_from_file_location("definitions", REPOSITORY / "definitions.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.views


VIEWS = {view.name: view for view in feature_views()}


@pytest.fixture(scope="session")
def sample(whole) -> list[dict[str, Any]]:
    """A hundred examples from all over the weeks."""
    rows = table(whole / "examples").to_arrow_table().to_pylist()
    return random.Random(7).sample(rows, 100)


@pytest.mark.parametrize("name", VIEWS)
def test_each_value_is_the_newest_within_its_time_to_live(name, sample, whole):
    view = VIEWS[name]
    key = {"aircraft": "tailnum", "flight": "flight_key"}.get(view.entities[0], view.entities[0])
    features = [field.name for field in view.features]
    histories = defaultdict(list)
    for row in pq.read_table(whole / "transformed" / f"{name}.parquet").to_pylist():
        histories[row[key]].append(row)
    expected, found = [], []
    for example in sample:
        moment = example["event_timestamp"]
        known = [
            row
            for row in histories[example[key]]
            if row["event_timestamp"] <= moment and (not view.ttl or row["event_timestamp"] >= moment - view.ttl)
        ]
        newest = max(known, key=lambda row: row["event_timestamp"], default={})
        expected.append([newest.get(feature) for feature in features])
        found.append([example[feature] for feature in features])
    assert found == expected
    assert any(value is not None for values in found for value in values)


def up_to(moment: datetime, step: timedelta) -> datetime:
    """Return the last point of a grid of whole quarters or hours that is not after a moment."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // step * step


def test_departures_of_the_last_two_hours_from_raw_rows(sample, sliced):
    events = [(row["origin"], departed(row), int(row["dep_delay"])) for row in sliced.flights if departed(row)]
    for example in sample:
        end = up_to(example["event_timestamp"], QUARTER)
        delays = [delay for origin, moment, delay in events if origin == example["origin"] and end - 2 * HOUR < moment <= end]
        assert (example["origin_departures_2h"] or 0) == len(delays)
        assert example["origin_delay_2h"] == (pytest.approx(sum(delays) / len(delays)) if delays else None)
        share = float(Fraction(sum(delay > 15 for delay in delays), len(delays))) if delays else None
        assert example["origin_late_share_2h"] == (pytest.approx(share) if delays else None)


def test_flights_that_wait_from_raw_rows(sample, sliced):
    waits = []
    for row in sliced.flights:
        scheduled = datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
        waits.append((row["origin"], scheduled, min(departed(row) or scheduled + 4 * HOUR, scheduled + 4 * HOUR)))
    for example in sample:
        if example["origin_overdue"] is None:
            continue
        end = up_to(example["event_timestamp"], QUARTER)
        assert example["origin_overdue"] == sum(origin == example["origin"] and since <= end < until for origin, since, until in waits)


def test_an_aircrafts_last_arrival_from_raw_rows(sample, sliced):
    histories = defaultdict(list)
    for row in sliced.flights:
        if (moment := arrived(row)) and row["arr_delay"] not in ("", "NA"):
            histories[row["tailnum"]].append((moment, int(row["arr_delay"]), int(row["distance"])))
    seen = 0
    for example in sample:
        history = sorted(histories[example["tailnum"]])
        last = bisect_right(history, example["event_timestamp"], key=lambda event: event[0])
        newest = history[last - 1] if last and history[last - 1][0] >= example["event_timestamp"] - timedelta(days=7) else None
        assert (example["aircraft_arrival_delay"], example["aircraft_last_distance"]) == (newest[1:] if newest else (None, None))
        seen += newest is not None
    assert seen > 20


def test_a_flights_last_ten_arrivals_from_raw_rows(sample, sliced):
    histories = defaultdict(list)
    for row in sliced.flights:
        if (moment := arrived(row)) and row["arr_delay"] not in ("", "NA"):
            histories[row["carrier"] + row["flight"] + row["origin"]].append((moment, int(row["arr_delay"])))
    seen = 0
    for example in sample:
        history = sorted(histories[example["flight_key"]])
        known = history[: bisect_right(history, example["event_timestamp"], key=lambda event: event[0])]
        if not known:
            assert example["flight_delay_10"] is None
            continue
        delays = [delay for _, delay in known[-10:]]
        assert example["flight_delay_10"] == pytest.approx(sum(delays) / len(delays))
        seen += 1
    assert seen > 20
