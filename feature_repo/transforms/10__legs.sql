-- Every flight with its moments in UTC. A delay is known when it has happened: on departure, on arrival.
WITH moments AS (
    SELECT
        flights.*,
        time_hour + to_minutes(minute) AS scheduled,
        time_hour + to_minutes(minute) + to_minutes(dep_delay) AS departed,
        -- Four airports of the Caribbean are missing from the airports table.
        coalesce(airports.tzone, 'America/Puerto_Rico') AS zone
    FROM flights
    LEFT JOIN airports ON airports.faa = flights.dest
),
local AS (
    SELECT
        *,
        timezone(zone, departed) AS departed_there,
        arr_time // 100 * 60 + arr_time % 100 AS arrival_minute
    FROM moments
)
SELECT
    * EXCLUDE (zone, departed_there, arrival_minute),
    departed
    + to_minutes((arrival_minute - hour(departed_there) * 60 - minute(departed_there) + 2 * 1440) % 1440) AS arrived
FROM local
