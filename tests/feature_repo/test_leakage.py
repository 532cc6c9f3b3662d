"""The truncation test: features of a moment stay as they are when all that was not yet known then is deleted from the raw data.

The rows asked for are the whole build's, so those of the last minutes before a cut, where leaks show, count too.
"""

import shutil
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow.parquet as pq
import pytest

from .conftest import REPOSITORY, Slice, build, hour_of, read_rows, table

# A Friday evening, the evening of the day whose night has an hour twice, and a Monday afternoon; none on a grid point of any window.
CUTS = [datetime(2013, 10, 25, 21, 7, tzinfo=UTC), datetime(2013, 11, 3, 6, 37, tzinfo=UTC), datetime(2013, 11, 4, 18, 52, tzinfo=UTC)]
ZONES = {row["faa"]: ZoneInfo(row["tzone"]) for row in read_rows("airports.csv") if row["tzone"] not in ("", "NA")}
KEYS = ["event_timestamp", "flight_key", "dest"]
LABEL = "late"


def departed(row: dict[str, str]) -> datetime | None:
    """Return the moment of departure."""
    if row["dep_delay"] in ("", "NA"):
        return None
    return hour_of(row) + timedelta(minutes=int(row["minute"]) + int(row["dep_delay"]))


def arrived(row: dict[str, str]) -> datetime | None:
    """Return the moment of arrival: the first after the departure at which the destination's clocks show the arrival time."""
    left = departed(row)
    if left is None or row["arr_time"] in ("", "NA"):
        return None
    zone = ZONES.get(row["dest"], ZoneInfo("America/Puerto_Rico"))
    clock = int(row["arr_time"])
    shown = time(clock // 100 % 24, clock % 100)
    flown = 0 if row["air_time"] in ("", "NA") else int(row["air_time"])
    days = [left.astimezone(zone).date() + timedelta(days=offset) for offset in (-1, 0, 1, 2)]
    moments = [datetime.combine(day, shown, zone).replace(fold=fold).astimezone(UTC) for day in days for fold in (0, 1)]
    return min(moment for moment in moments if moment >= left + timedelta(minutes=flown))


def known_at(cut: datetime, sliced: Slice, *, labels: bool) -> Slice:
    """Return what was known: no later departure, arrival or observation; with `labels`, some arrival delay where there is one at all.

    The spine has rows of flights with an arrival delay only; so that its other columns can be compared, `labels` makes one up.
    """
    flights = []
    for row in sliced.flights:
        left, landed = departed(row), arrived(row)
        kept = dict(row)
        if left is None or left > cut:
            kept |= {"dep_time": "NA", "dep_delay": "NA"}
        if landed is None or landed > cut:
            kept |= {"arr_time": "NA", "air_time": "NA", "arr_delay": "0" if labels and row["arr_delay"] not in ("", "NA") else "NA"}
        flights.append(kept)
    return Slice(flights, [row for row in sliced.weather if hour_of(row) + timedelta(hours=1) <= cut])


@pytest.fixture(scope="session")
def truncated(sliced, tmp_path_factory):
    """Return the tables known at a cut, ingested once each."""
    made: dict[tuple[datetime, bool], Path] = {}

    def ingest(cut: datetime, *, labels: bool) -> Path:
        if (cut, labels) not in made:
            made[cut, labels] = known_at(cut, sliced, labels=labels).ingest(tmp_path_factory.mktemp("truncated"))
        return made[cut, labels]

    return ingest


def different(left: duckdb.DuckDBPyRelation, right: duckdb.DuckDBPyRelation, cut: datetime) -> dict[str, int]:
    """Return how many rows up to the cut differ, by column; the label apart."""
    columns = [name for name in left.columns if name not in (*KEYS, LABEL)]
    assert [name for name in right.columns if name in columns] == columns
    on = " AND ".join(f"l.{key} = r.{key}" for key in KEYS)
    counts = ", ".join(f"count(*) FILTER (l.{name} IS DISTINCT FROM r.{name}) AS {name}" for name in columns)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("left_rows", left.to_arrow_table())
        connection.register("right_rows", right.to_arrow_table())
        found = connection.execute(
            f"SELECT count(*), {counts} FROM left_rows l JOIN right_rows r ON {on} WHERE l.event_timestamp <= ?", [cut]
        ).fetchone()
        known = connection.execute("SELECT count(*) FROM left_rows WHERE event_timestamp <= ?", [cut]).fetchone()
    assert found
    assert known
    assert found[0] == known[0] > 500, "every row of before the cut is compared"
    return {name: count for name, count in zip(columns, found[1:], strict=True) if count}


def leaks(tables: Path, truncated, cut: datetime, folder: Path, repository: Path = REPOSITORY, whole: Path | None = None) -> dict[str, int]:
    """Return the columns whose values of before the cut change when what was known only after it is deleted."""
    if whole is None:
        whole = folder / "whole"
        build(tables, whole, repository)
    spine = whole / "transformed" / "examples.parquet"
    rebuilt = build(truncated(cut, labels=False), folder / "known", repository, spine=spine)
    from_features = different(table(whole / "examples"), table(rebuilt), cut)
    build(truncated(cut, labels=True), folder / "labelled", repository)
    from_spine = different(table(spine), table(folder / "labelled" / "transformed" / "examples.parquet"), cut)
    return from_features | from_spine


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{cut:%m-%d-%H%M}")
def test_features_do_not_change_when_what_was_not_known_is_deleted(cut, tables, truncated, whole, tmp_path):
    assert leaks(tables, truncated, cut, tmp_path, whole=whole) == {}


PLANTED = {
    "weather of the hour itself": ("20_weather_reports", "time_hour + INTERVAL 1 HOUR AS event_timestamp", "time_hour AS event_timestamp", "temp"),
    "departures keyed by the schedule": ("30_origin_operations", "origin, departed AS moment", "origin, scheduled AS moment", "origin_delay_2h"),
    "own departure delay in the spine": ("90_examples", "    distance,", "    distance, dep_delay AS own_delay,", "own_delay"),
    "own arrival in its history": (
        "70_flight_history",
        "arrived AS event_timestamp",
        "scheduled - INTERVAL 2 HOURS AS event_timestamp",
        "flight_delay_10",
    ),
    "windows that reach forward": (
        "50_carrier_operations",
        "2 PRECEDING AND CURRENT ROW",
        "2 PRECEDING AND 1 FOLLOWING",
        "carrier_departure_delay_3h",
    ),
}


@pytest.mark.parametrize("leak", PLANTED)
def test_a_planted_leak_is_found(leak, tables, truncated, tmp_path):
    name, sound, leaky, column = PLANTED[leak]
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    path = repository / "transforms" / f"{name}.sql"
    sql = path.read_text()
    assert sound in sql
    path.write_text(sql.replace(sound, leaky))
    assert column in leaks(tables, truncated, CUTS[0], tmp_path, repository)


def test_every_arrival_is_where_the_clocks_of_its_destination_say(sliced, tables, tmp_path):
    """What the cuts above go by, against what the SQL goes by: also in the night that has an hour twice."""
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns("__pycache__"))
    (repository / "transforms" / "11_legs.sql").write_text("SELECT carrier, flight, origin, time_hour, minute, departed, arrived FROM _legs")
    from intermodal.components.transform_tables.logic import transform_tables

    transform_tables(str(tables), str(repository), str(tmp_path / "made"))
    legs = pq.read_table(tmp_path / "made" / "legs.parquet").to_pylist()
    found = {(leg["carrier"], leg["flight"], leg["origin"], leg["time_hour"], leg["minute"]): (leg["departed"], leg["arrived"]) for leg in legs}
    expected = {
        (row["carrier"], int(row["flight"]), row["origin"], hour_of(row), int(row["minute"])): (departed(row), arrived(row)) for row in sliced.flights
    }
    assert {key: (moments, expected[key]) for key, moments in found.items() if moments != expected[key]} == {}
