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
landings AS (
    SELECT
        *,
        timezone(zone, departed) AS departed_there,
        departed + to_minutes((arrival_minute - hour(departed_there) * 60 - minute(departed_there) + 2 * 1440) % 1440) AS landed,
        timezone(zone, landed) AS landed_there
    FROM departures
)
SELECT
    * EXCLUDE (zone, departed_there, arrival_minute, landed, landed_there),
    -- Clocks that changed during the flight do not show the arrival time yet, or no more: go on, or back, until they do.
    landed
    + to_minutes((arrival_minute - hour(landed_there) * 60 - minute(landed_there) + 720 + 1440) % 1440 - 720) AS arrived
FROM landings
