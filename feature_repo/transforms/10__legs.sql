-- Every flight with its times in UTC. What becomes of it is known when it has happened: the departure's delay on departure, the arrival's on arrival.
WITH departures AS (
    SELECT
        flights.*,
        time_hour + to_minutes(minute) AS scheduled,
        time_hour + to_minutes(minute) + to_minutes(dep_delay) AS departed,
        -- Four airports of the Caribbean are missing from the airports table.
        coalesce(airports.tzone, 'America/Puerto_Rico') AS zone,
        arr_time // 100 * 60 + arr_time % 100 AS arrival_minute
    FROM flights
    LEFT JOIN airports ON airports.faa = flights.dest
),
flights_there AS (
    SELECT
        *,
        timezone(zone, departed) AS departed_there,
        to_minutes((arrival_minute - hour(departed_there) * 60 - minute(departed_there) + 2 * 1440) % 1440) AS shown_later
    FROM departures
)
SELECT
    * EXCLUDE (zone, arrival_minute, departed_there, shown_later),
    -- Where clocks change during the flight, it took an hour more or less than they say.
    CASE
        WHEN timezone(zone, departed + shown_later) = departed_there + shown_later THEN departed + shown_later
        ELSE timezone(zone, departed_there + shown_later)
    END AS arrived
FROM flights_there
