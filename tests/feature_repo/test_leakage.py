"""The truncation test: features of a row stay as they are in every future that agrees with what was known at its time.

`knowledge.py` says what is known when, and makes the futures; `truncation.py` compares; `leaks.py` has the leaks that must be found.
The rows asked for are the whole build's, so those of the last minutes before a cut, where leaks show, count too.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from intermodal.components.transform_tables.logic import transform_tables

from .conftest import REPOSITORY, Slice, build, table
from .knowledge import FLIGHTS, WEATHER, arrived, departed, everything_flies, nothing_happens, prediction_times, scheduled
from .leaks import DATED_BACK, LATE, ROUNDS, SPINE, Corrections, Leak
from .truncation import differences

# The evening of a Friday with 37 cancellations, that of the day whose night has an hour twice, a Monday afternoon; none on a grid point of a window.
CUTS = [datetime(2013, 11, 1, 21, 7, tzinfo=UTC), datetime(2013, 11, 3, 6, 37, tzinfo=UTC), datetime(2013, 11, 4, 18, 52, tzinfo=UTC)]
KEYS = ["flight_key", "dest"]
LABEL = ["late"]
Future = Callable[[Slice, datetime], Slice]


@pytest.fixture(scope="session")
def known(sliced, tmp_path_factory) -> Callable[[Future, datetime], Path]:
    """Return the tables of a future that agrees with what was known at a cut, ingested once each."""
    made: dict[tuple[Future, datetime], Path] = {}

    def ingest(future: Future, cut: datetime) -> Path:
        if (future, cut) not in made:
            made[future, cut] = future(sliced, cut).ingest(tmp_path_factory.mktemp("known"))
        return made[future, cut]

    return ingest


def moved(spine: Path, sliced: Slice) -> dict[str, int]:
    """Return how many rows the spine has at a time or of a flight that it should not, or lacks."""
    columns = pq.read_table(spine, columns=["flight_key", "dest", "event_timestamp"]).to_pydict()
    found, expected = Counter(zip(*columns.values(), strict=True)), prediction_times(sliced)
    wrong = ((found - expected) + (expected - found)).total()
    return {"event_timestamp": wrong} if wrong else {}


def leaks(
    whole: Path,
    sliced: Slice,
    known: Callable[[Future, datetime], Path],
    cut: datetime,
    folder: Path,
    repository: Path = REPOSITORY,
    *,
    filtered: bool = True,
) -> dict[str, int]:
    """Return the columns of a build's rows of before the cut that are others in another future, and whether its prediction times are wrong."""
    spine = whole / "transformed" / "examples.parquet"

    def compare(one: Path, other: Path) -> dict[str, int]:
        return differences(table(one), table(other), cut, keys=KEYS, ignored=LABEL)

    # Where nothing happens few flights have a label: the rest of the rows are asked for by the whole build's spine.
    blank = build(known(nothing_happens, cut), folder / "blank", repository, spine=spine, filtered=filtered)
    flown = build(known(everything_flies, cut), folder / "flown", repository, filtered=filtered)
    return (
        moved(spine, sliced)
        | compare(whole / "examples", blank)
        | compare(folder / "blank" / "spine.parquet", spine)
        | compare(whole / "examples", flown)
    )


def test_it_is_said_of_every_raw_column_when_it_is_known(sliced):
    assert list(sliced.flights[0]) == sorted(FLIGHTS, key=list(sliced.flights[0]).index)
    assert list(sliced.weather[0]) == sorted(WEATHER, key=list(sliced.weather[0]).index)


def test_both_futures_keep_what_was_known_and_nothing_else(sliced):
    """Every departure and arrival of before the cut is kept, none is added to them, and a flight still to come has an aircraft, another one."""
    cut = CUTS[1]
    differ = 0
    for row, without, other in zip(sliced.flights, nothing_happens(sliced, cut).flights, everything_flies(sliced, cut).flights, strict=True):
        for happened in (departed, arrived):
            was = happened(row)
            if was and was <= cut:
                assert happened(without) == happened(other) == was
            else:
                assert happened(without) is None
                assert (happened(other) or datetime.max.replace(tzinfo=UTC)) > cut
        if scheduled(row) > cut:
            assert departed(other)
            assert other["tailnum"] != "NA"
            differ += row["tailnum"] != other["tailnum"]
    assert differ > 500


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: f"{cut:%m-%d-%H%M}")
def test_features_are_the_same_in_every_future(cut, sliced, known, whole, tmp_path):
    assert leaks(whole, sliced, known, cut, tmp_path) == {}


def planted(folder: Path, *leaks: Leak | Corrections) -> Path:
    """Return a copy of the repository that has leaks."""
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for leak in leaks:
        leak.plant(folder)
    return folder


@pytest.fixture(scope="session")
def found(sliced, tables, known, tmp_path_factory) -> Callable[[int], dict[str, int]]:
    """Return what is found in a round of leaks."""
    made: dict[int, dict[str, int]] = {}

    def of(number: int) -> dict[str, int]:
        if number not in made:
            folder = tmp_path_factory.mktemp("planted")
            repository = planted(folder / "repository", *ROUNDS[number])
            build(tables, folder / "whole", repository)
            made[number] = leaks(folder / "whole", sliced, known, CUTS[0], folder, repository)
        return made[number]

    return of


def rounds() -> list[Any]:
    return [pytest.param(number, leak, id=leak.name) for number, leaks in enumerate(ROUNDS) for leak in leaks]


@pytest.mark.parametrize(("number", "leak"), rounds())
def test_a_planted_leak_is_found(number, leak, found):
    assert leak.column in found(number)


@pytest.mark.parametrize(
    ("leak", "filtered", "columns"),
    [
        pytest.param(LATE, False, {"temp"}, id="late corrections taken as known"),
        pytest.param(LATE, True, set(), id="late corrections unknown until they were made"),
        pytest.param(DATED_BACK, True, {"temp"}, id="corrections dated back"),
    ],
)
def test_corrections_leak_where_they_count_before_they_were_made(leak, filtered, columns, sliced, tables, known, tmp_path):
    repository = planted(tmp_path / "repository", leak)
    whole = tmp_path / "whole"
    examples = build(tables, whole, repository, filtered=filtered)
    assert set(leaks(whole, sliced, known, CUTS[0], tmp_path, repository, filtered=filtered)) == columns
    if not columns:
        # The correction of twenty minutes later counts from then on, and until then what was reported; an hour without a report has the last one's.
        early = table(examples).filter("extract('minute' FROM event_timestamp) < 20 AND temp IS NOT NULL")
        later = table(examples).filter("extract('minute' FROM event_timestamp) >= 20 AND temp IS NOT NULL")
        thousandths = [rows.aggregate("list_sort(list(DISTINCT (round(temp * 1000) % 10)::INT))").fetchall()[0][0] for rows in (early, later)]
        assert thousandths == [[0, 1], [1]]


@pytest.mark.parametrize("leak", SPINE, ids=lambda leak: leak.name)
def test_another_prediction_time_is_found(leak, sliced, tables, tmp_path):
    repository = planted(tmp_path / "repository", leak)
    for path in (repository / "transforms").glob("*.sql"):
        if path.stem not in ("10__legs", "90_examples"):
            path.unlink()
    transform_tables(str(tables), str(repository), str(tmp_path / "transformed"))
    assert leak.column in moved(tmp_path / "transformed" / "examples.parquet", sliced)


@pytest.mark.parametrize("made_up", [False, True], ids=["real", "made up"])
@pytest.mark.parametrize("night", [datetime(2013, 3, 10, 6, 37, tzinfo=UTC), CUTS[1]], ids=lambda night: f"{night:%B}")
def test_every_arrival_is_where_the_clocks_of_its_destination_say(night, made_up, tmp_path):
    """What the cuts above go by, against what the SQL goes by, in the nights that lack an hour or have it twice; made up, many fly then."""
    rows = Slice.between(night - timedelta(days=1), night + timedelta(days=1))
    rows = everything_flies(rows, night) if made_up else rows
    source = rows.ingest(tmp_path / "rows")
    repository = tmp_path / "repository"
    (repository / "transforms").mkdir(parents=True)
    shutil.copy(REPOSITORY / "transforms" / "10__legs.sql", repository / "transforms")
    (repository / "transforms" / "11_legs.sql").write_text("SELECT carrier, flight, origin, time_hour, minute, departed, arrived FROM _legs")
    transform_tables(str(source), str(repository), str(tmp_path / "made"))
    legs = pq.read_table(tmp_path / "made" / "legs.parquet").to_pylist()
    found = {(leg["carrier"], leg["flight"], leg["origin"], leg["time_hour"], leg["minute"]): (leg["departed"], leg["arrived"]) for leg in legs}
    expected = {
        (row["carrier"], int(row["flight"]), row["origin"], datetime.fromisoformat(row["time_hour"]), int(row["minute"])): (
            departed(row),
            arrived(row),
        )
        for row in rows.flights
    }
    assert {key: (times, expected[key]) for key, times in found.items() if times != expected[key]} == {}
