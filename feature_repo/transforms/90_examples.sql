-- The spine: flights that arrived, two hours before their scheduled departure, with what the timetable says.
-- A cancelled or diverted flight has no label, so the probability is of being late if it arrives.
-- The aircraft is taken to be assigned by then. The data has the one that flew, and no history of assignments: see docs/explanation/leakage.md.
SELECT
    scheduled - INTERVAL 2 HOURS AS event_timestamp,
    origin,
    dest,
    carrier,
    coalesce(tailnum, '') AS tailnum,
    carrier || flight || origin AS flight_key,
    dayofweek(timezone('America/New_York', scheduled)) AS weekday,
    sched_dep_time // 100 * 60 + sched_dep_time % 100 AS departure_minute,
    sched_arr_time // 100 * 60 + sched_arr_time % 100 AS arrival_minute,
    distance,
    CAST(arr_delay > 15 AS BIGINT) AS late,
    split
FROM _legs
WHERE arr_delay IS NOT NULL
ORDER BY event_timestamp, carrier, flight, origin
