-- The spine: flights that arrived, two hours before their scheduled departure, with what the schedule says.
SELECT
    scheduled - INTERVAL 2 HOURS AS event_timestamp,
    origin,
    dest,
    carrier,
    coalesce(tailnum, '') AS tailnum,
    carrier || flight || origin AS flight_key,
    dayofweek(scheduled - INTERVAL 5 HOURS) AS weekday,
    sched_dep_time // 100 * 60 + sched_dep_time % 100 AS departure_minute,
    sched_arr_time // 100 * 60 + sched_arr_time % 100 AS arrival_minute,
    distance,
    CAST(arr_delay > 15 AS BIGINT) AS late,
    split
FROM _legs
WHERE arr_delay IS NOT NULL
ORDER BY event_timestamp, carrier, flight, origin
