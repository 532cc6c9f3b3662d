"""Features of a flight, known two hours before its scheduled departure.

The aircraft is an assumption: the data has the one that flew. Without its assignment at that time, remove the three views of `aircraft`
(docs/explanation/leakage.md).
"""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
aircraft = Entity(name="aircraft", join_keys=["tailnum"], value_type=ValueType.STRING)
flight = Entity(name="flight", join_keys=["flight_key"], value_type=ValueType.STRING)


def view(table: str, entity: Entity, ttl: timedelta, **features: type) -> FeatureView:
    """Return the feature view of a table that the transforms make."""
    return FeatureView(
        name=table,
        entities=[entity],
        ttl=ttl,
        schema=[Field(name=name, dtype=kind) for name, kind in features.items()],
        source=FileSource(name=table, path=f"{table}.parquet", timestamp_field="event_timestamp"),
    )


views = [
    view(
        "weather_reports",
        origin,
        timedelta(hours=6),
        temp=Float64,
        dew_point=Float64,
        humidity=Float64,
        wind_direction=Float64,
        wind_speed=Float64,
        precipitation=Float64,
        pressure=Float64,
        visibility=Float64,
    ),
    view(
        "origin_operations",
        origin,
        timedelta(hours=1),
        origin_delay_2h=Float64,
        origin_late_share_2h=Float64,
        origin_departures_2h=Int64,
        origin_overdue=Int64,
    ),
    view("destination_operations", dest, timedelta(hours=2), destination_delay_3h=Float64, destination_delay_24h=Float64),
    view("carrier_operations", carrier, timedelta(hours=2), carrier_departure_delay_3h=Float64, carrier_arrival_delay_3h=Float64),
    view("aircraft_departures", aircraft, timedelta(days=2), aircraft_departure_delay=Int64),
    view("aircraft_arrivals", aircraft, timedelta(days=7), aircraft_arrival_delay=Int64, aircraft_last_distance=Int64),
    view("flight_history", flight, timedelta(days=30), flight_delay_10=Float64, flight_late_share_10=Float64),
    view("aircraft", aircraft, timedelta(0), aircraft_built=Int64, aircraft_seats=Int64, aircraft_engines=Int64),
]

flight_delay = FeatureService(name="flight_delay", features=views)
