"""When each column of the raw rows is known, and two futures that both agree with what was known at a cut.

In the one nothing more happens: what was not known yet is blank. In the other everything does: each flight that was not known to be cancelled gets an
aircraft, departs and arrives, at made-up times after the cut. A feature that is honest is the same in both as in what really happened. Blanks alone
would not do: a flight that will be cancelled is blank in reality too, so a count of the blank ones needs the future in which it flies.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo

from .conftest import Row, Slice, hour_of, read_table

#: Features are asked for so long before the scheduled departure.
LEAD = timedelta(hours=2)
#: A flight that has not departed, or not landed, so long after its time never will: the year's longest delay is 21:41 h, the longest flight 20:25 h.
CERTAIN = timedelta(hours=22)
#: An observation carries its hour's largest precipitation.
REPORTED = timedelta(hours=1)
NEW_YORK = ZoneInfo("America/New_York")
ZONES = {row["faa"]: ZoneInfo(row["tzone"]) for row in read_table("airports.csv").to_pylist() if row["tzone"] not in ("", "NA")}
MISSING = ("", "NA")

#: What makes a column known. The aircraft is an assumption: the file has the one that flew, and not since when it was planned.
TIMETABLE, ASSIGNMENT, DEPARTURE, ARRIVAL, REPORT = "timetable", "assignment", "departure", "arrival", "report"
FLIGHTS = {
    **dict.fromkeys(("year", "month", "day", "hour", "minute", "time_hour", "sched_dep_time", "sched_arr_time"), TIMETABLE),
    **dict.fromkeys(("carrier", "flight", "origin", "dest", "distance"), TIMETABLE),
    "tailnum": ASSIGNMENT,
    **dict.fromkeys(("dep_time", "dep_delay"), DEPARTURE),
    **dict.fromkeys(("arr_time", "air_time", "arr_delay"), ARRIVAL),
}
WEATHER = {
    **dict.fromkeys(("origin", "year", "month", "day", "hour", "time_hour"), TIMETABLE),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"), REPORT),
}


def scheduled(row: Row) -> datetime:
    """Return the scheduled departure, from the date and the clock in New York; `time_hour`, by which the SQL goes, has no part in it."""
    clock = int(row["sched_dep_time"])
    # No flight is scheduled in the hour that November's night has twice.
    return datetime(int(row["year"]), int(row["month"]), int(row["day"]), clock // 100, clock % 100, tzinfo=NEW_YORK).astimezone(UTC)


def departed(row: Row) -> datetime | None:
    """Return the time of departure."""
    return None if row["dep_delay"] in MISSING else scheduled(row) + timedelta(minutes=int(row["dep_delay"]))


def arrived(row: Row) -> datetime | None:
    """Return the time of arrival: the first after departure and time in the air at which the destination's clocks show it."""
    left = departed(row)
    if left is None or row["arr_time"] in MISSING:
        return None
    zone = ZONES.get(row["dest"], ZoneInfo("America/Puerto_Rico"))
    clock = int(row["arr_time"])
    shown = time(clock // 100 % 24, clock % 100)
    flown = 0 if row["air_time"] in MISSING else int(row["air_time"])
    days = (left.astimezone(zone).date() + timedelta(days=offset) for offset in (0, 1, 2))
    times = (datetime.combine(day, shown, zone).replace(fold=fold).astimezone(UTC) for day in days for fold in (0, 1))
    return next(time for time in times if time >= left + timedelta(minutes=flown))


def prediction_times(sliced: Slice) -> Counter[tuple[str, str, datetime]]:
    """Return the rows that the spine must have, each flight that arrived, and the time of the prediction."""
    return Counter(
        (leg.row["carrier"] + leg.row["flight"] + leg.row["origin"], leg.row["dest"], leg.scheduled - LEAD)
        for leg in legs(sliced)
        if leg.row["arr_delay"] not in MISSING
    )


@dataclass(frozen=True)
class Leg:
    """A flight, and the times that decide what is known of it."""

    row: Row
    scheduled: datetime
    left: datetime | None
    landed: datetime | None

    def known(self, cut: datetime) -> set[str]:
        """Return what is known at a cut. That something is missing is known only once it is certain never to come."""
        known = {TIMETABLE}
        if self.left is None and cut >= self.scheduled + CERTAIN:
            return {TIMETABLE, ASSIGNMENT, DEPARTURE, ARRIVAL}
        if cut >= self.scheduled - LEAD and self.row["tailnum"] not in MISSING:
            known.add(ASSIGNMENT)
        if self.left and self.left <= cut:
            known.add(DEPARTURE)
            if cut >= (self.landed or self.left + CERTAIN):
                known.add(ARRIVAL)
        return known

    def blank(self, cut: datetime) -> Row:
        """Return the row with blanks for what is not known."""
        known = self.known(cut)
        return {column: value if FLIGHTS[column] in known else "NA" for column, value in self.row.items()}

    def flown(self, cut: datetime, chance: Random, aircraft: list[str]) -> Row:
        """Return the row with an aircraft, a departure and an arrival after the cut, made up where the real ones are not known."""
        known = self.known(cut)
        row = dict(self.row)
        left = self.left
        if ASSIGNMENT not in known:
            row["tailnum"] = chance.choice(aircraft)
        if DEPARTURE not in known:
            left = max(self.scheduled + timedelta(minutes=chance.randint(-5, 120)), cut + timedelta(minutes=chance.randint(1, 60)))
            local = left.astimezone(NEW_YORK)
            row |= {"dep_time": str(local.hour * 100 + local.minute), "dep_delay": str((left - self.scheduled) // timedelta(minutes=1))}
        if ARRIVAL not in known:
            assert left
            landed = max(left + timedelta(minutes=chance.randint(45, 360)), cut + timedelta(minutes=chance.randint(1, 60)))
            row |= {"air_time": "NA", "arr_delay": str(chance.randint(-30, 180)), "arr_time": _clock(row, landed)}
            # In November's night a clock may show the time once before the cut already.
            while (arrived(row) or cut) <= cut:
                landed += timedelta(hours=1)
                row["arr_time"] = _clock(row, landed)
            row["air_time"] = str(chance.randint(20, 40))
        return row


def _clock(row: Row, landed: datetime) -> str:
    local = landed.astimezone(ZONES.get(row["dest"], ZoneInfo("America/Puerto_Rico")))
    return str(local.hour * 100 + local.minute)


@cache
def legs(sliced: Slice) -> list[Leg]:
    """Return the flights with their times."""
    return [Leg(row, scheduled(row), departed(row), arrived(row)) for row in sliced.flights]


@cache
def nothing_happens(sliced: Slice, cut: datetime) -> Slice:
    """Return the future in which what is not known at the cut stays blank."""
    return Slice([leg.blank(cut) for leg in legs(sliced)], [row for row in sliced.weather if hour_of(row) + REPORTED <= cut])


@cache
def everything_flies(sliced: Slice, cut: datetime) -> Slice:
    """Return the future in which every flight that is not known to be cancelled flies, in another weather, at made-up times."""
    chance = Random(f"{cut}")
    aircraft = sorted({row["tailnum"] for row in sliced.flights} - {*MISSING})
    return Slice([leg.flown(cut, chance, aircraft) for leg in legs(sliced)], list(_weather(sliced, cut, chance)))


def _weather(sliced: Slice, cut: datetime, chance: Random) -> Iterator[Row]:
    for row in sliced.weather:
        other = row if hour_of(row) + REPORTED <= cut else chance.choice(sliced.weather)
        yield {column: (other if WEATHER[column] == REPORT else row)[column] for column in row}
