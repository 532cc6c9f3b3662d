"""Leaks as people make them, each a small patch of a transform; tests plant them and see them found."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Leak:
    """One patch, and the column whose values it spoils."""

    name: str
    file: str
    sound: str
    leaky: str
    column: str

    def plant(self, repository: Path) -> None:
        patch(repository / "transforms" / f"{self.file}.sql", self.sound, self.leaky)


def patch(path: Path, sound: str, leaky: str) -> None:
    text = path.read_text()
    assert sound in text, f"{path.name} has changed: plant {leaky!r} anew"
    path.write_text(text.replace(sound, leaky))


@dataclass(frozen=True)
class Corrections:
    """Weather reports that are corrected: after twenty minutes by a thousandth, and later by what happened in the hours that follow.

    Of the reports of one hour, the source says when each was created.
    """

    name: str
    #: When the last correction was created, after the hour began, as its source says.
    created: str
    column: str = "temp"

    def plant(self, repository: Path) -> None:
        last = "    visib AS visibility\nFROM weather\n"
        measured = "dewp, humid, wind_dir::DOUBLE, CASE WHEN wind_speed < 200 THEN wind_speed END, precip, pressure, visib"
        patch(
            repository / "transforms" / "20_weather_reports.sql",
            last,
            f"""    visib AS visibility,
    time_hour + INTERVAL 1 HOUR AS created
FROM weather
UNION ALL
SELECT origin, time_hour + INTERVAL 1 HOUR, temp + 0.001, {measured}, time_hour + INTERVAL 80 MINUTES FROM weather
UNION ALL
SELECT
    origin,
    time_hour + INTERVAL 1 HOUR,
    avg(temp) OVER (PARTITION BY origin ORDER BY time_hour RANGE BETWEEN CURRENT ROW AND INTERVAL 5 HOURS FOLLOWING),
    {measured},
    time_hour + {self.created}
FROM weather
""",
        )
        time = 'timestamp_field="event_timestamp"'
        patch(repository / "definitions.py", time, f'{time}, created_timestamp_column="created" if table == "weather_reports" else ""')


def in_view(name: str, file: str, sound: str, leaky: str, column: str) -> Leak:
    return Leak(name, file, sound, leaky, column)


def in_spine(name: str, column: str, expression: str) -> Leak:
    """Return a leak that is a column of its own beside the request's."""
    return Leak(name, "90_examples", "    distance,\n", f"    distance,\n    {expression} AS {column},\n", column)


def of_the_day(what: str, condition: str) -> str:
    """Return how many flights of a row's day and origin a condition holds for."""
    same = " AND ".join(f"other.{name} = _legs.{name}" for name in ("origin", "year", "month", "day"))
    return f"(SELECT {what} FROM _legs other WHERE {same} AND {condition})"


_UP_TO_NEXT = "INTERVAL 1 HOUR - INTERVAL 1 MICROSECOND"
_DAY = "year, month, day"

#: Leaks of one round are planted together: each in a table of its own, or in a column of its own of the spine.
ROUNDS = [
    [
        in_view(
            "weather of the hour itself",
            "20_weather_reports",
            "time_hour + INTERVAL 1 HOUR AS event_timestamp",
            "time_hour AS event_timestamp",
            "temp",
        ),
        in_view("departures keyed by the timetable", "30_origin_operations", "origin, departed AS", "origin, scheduled AS", "origin_delay_2h"),
        in_view("arrivals of the hour that goes on", "40_destination_operations", f"arrived + {_UP_TO_NEXT}", "arrived", "destination_delay_3h"),
        in_view(
            "window that reaches forward",
            "50_carrier_operations",
            "2 PRECEDING AND CURRENT ROW",
            "2 PRECEDING AND 1 FOLLOWING",
            "carrier_departure_delay_3h",
        ),
        in_view(
            "aircraft's departure keyed by the timetable",
            "60_aircraft_departures",
            "departed AS event_timestamp",
            "scheduled AS event_timestamp",
            "aircraft_departure_delay",
        ),
        in_view(
            "local clock taken for UTC",
            "61_aircraft_arrivals",
            "arrived AS event_timestamp",
            "timezone('UTC', timezone('America/New_York', arrived)) AS event_timestamp",
            "aircraft_arrival_delay",
        ),
        in_view(
            "own arrival in its history",
            "70_flight_history",
            "arrived AS event_timestamp",
            "scheduled - INTERVAL 2 HOURS AS event_timestamp",
            "flight_delay_10",
        ),
        in_view(
            "flights of the whole year as what an aircraft is",
            "80_aircraft",
            "engines AS",
            "(SELECT count(*) FROM _legs WHERE _legs.tailnum = planes.tailnum) AS",
            "aircraft_engines",
        ),
        in_spine("own departure delay", "own_delay", "dep_delay"),
        in_spine("own time in the air", "own_air_time", "air_time"),
        in_spine("cancellations of the day", "cancelled_today", of_the_day("count(*)", "other.arr_delay IS NULL")),
        in_spine("flights of the day without aircraft", "unassigned_today", of_the_day("count(*)", "other.tailnum IS NULL")),
        in_spine(
            "slack to the aircraft's next flight",
            "slack",
            "epoch((SELECT min(next.scheduled) FROM _legs next WHERE next.tailnum = _legs.tailnum AND next.scheduled > _legs.scheduled) - scheduled)",
        ),
        in_spine("carrier's mean of the day", "carrier_today", f"avg(arr_delay) OVER (PARTITION BY carrier, {_DAY})"),
        in_spine("rank in the day by departure", "rank_today", f"rank() OVER (PARTITION BY origin, {_DAY} ORDER BY dep_time)"),
        in_spine(
            "label's own row in a rolling mean",
            "rolling",
            "avg(arr_delay) OVER (PARTITION BY carrier, flight ORDER BY scheduled ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)",
        ),
        in_spine("target encoding over all time", "carrier_late", "avg((arr_delay > 15)::INT) OVER (PARTITION BY carrier)"),
        in_spine(
            "flights before it in the timetable, whether they have arrived or not",
            "before_it",
            "avg(arr_delay) OVER (PARTITION BY origin ORDER BY scheduled ROWS BETWEEN 20 PRECEDING AND 1 PRECEDING)",
        ),
    ],
    [
        in_view(
            "forecast that is the observation",
            "20_weather_reports",
            "time_hour + INTERVAL 1 HOUR AS event_timestamp",
            "time_hour - INTERVAL 2 HOURS AS event_timestamp",
            "temp",
        ),
        in_view(
            "departures of the quarter of an hour that goes on",
            "30_origin_operations",
            "moment + INTERVAL 15 MINUTES - INTERVAL 1 MICROSECOND",
            "moment",
            "origin_departures_2h",
        ),
        in_view(
            "gaps filled with the mean of all time",
            "40_destination_operations",
            "sum(delay) OVER three_hours / nullif(sum(arrivals) OVER three_hours, 0) AS",
            "coalesce(sum(delay) OVER three_hours / nullif(sum(arrivals) OVER three_hours, 0), (SELECT avg(arr_delay) FROM _legs)) AS",
            "destination_delay_3h",
        ),
        in_view("carrier's hour that goes on", "50_carrier_operations", f"moment + {_UP_TO_NEXT}", "moment", "carrier_arrival_delay_3h"),
        in_view(
            "window of a history centred on its row",
            "70_flight_history",
            "9 PRECEDING AND CURRENT ROW",
            "5 PRECEDING AND 4 FOLLOWING",
            "flight_late_share_10",
        ),
    ],
    [
        in_view(
            "strongest wind of the day",
            "20_weather_reports",
            "CASE WHEN wind_speed < 200 THEN wind_speed END AS",
            f"max(wind_speed) OVER (PARTITION BY origin, {_DAY}) AS",
            "wind_speed",
        ),
        in_view(
            "flights that will be cancelled do not wait",
            "30_origin_operations",
            "departed IS NULL OR departed > scheduled",
            "departed > scheduled",
            "origin_overdue",
        ),
        in_view(
            "arrivals read by the clocks of New York",
            "10__legs",
            "coalesce(airports.tzone, 'America/Puerto_Rico')",
            "'America/New_York'",
            "carrier_arrival_delay_3h",
        ),
    ],
]

#: The time of the prediction, or which flights are asked about: to be seen in the spine alone.
_LEAD = "scheduled - INTERVAL 2 HOURS AS"
_ASKED = "WHERE arr_delay IS NOT NULL"
SPINE = [
    Leak("half an hour later", "90_examples", _LEAD, "scheduled - INTERVAL 90 MINUTES AS", "event_timestamp"),
    Leak("half an hour earlier", "90_examples", _LEAD, "scheduled - INTERVAL 150 MINUTES AS", "event_timestamp"),
    Leak("at the scheduled departure", "90_examples", _LEAD, "scheduled AS", "event_timestamp"),
    Leak("two hours before the real departure", "90_examples", _LEAD, "departed - INTERVAL 2 HOURS AS", "event_timestamp"),
    Leak(
        "local clock taken for UTC",
        "90_examples",
        _LEAD,
        "timezone('UTC', timezone('America/New_York', scheduled)) - INTERVAL 2 HOURS AS",
        "event_timestamp",
    ),
    Leak("summer time all year", "90_examples", _LEAD, "make_timestamptz(year, month, day, hour - 2, minute, 0, 'Etc/GMT+4') AS", "event_timestamp"),
    Leak("flights that depart very late left out", "90_examples", _ASKED, f"{_ASKED} AND dep_delay < 180", "event_timestamp"),
]

LATE = Corrections("temperature corrected six hours later", "INTERVAL 6 HOURS")
DATED_BACK = Corrections("correction that is dated back", "INTERVAL 90 MINUTES")
