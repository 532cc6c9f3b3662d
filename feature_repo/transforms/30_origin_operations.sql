-- Every quarter of an hour: how departures of the last two hours went, and how many flights wait that should have left.
WITH events AS (
    SELECT origin, departed AS moment, dep_delay AS delay, 1 AS departures, 0 AS waiting FROM _legs WHERE departed IS NOT NULL
    UNION ALL
    SELECT origin, scheduled, NULL, 0, 1 FROM _legs WHERE departed IS NULL OR departed > scheduled
    UNION ALL
    SELECT origin, least(coalesce(departed, scheduled + INTERVAL 4 HOURS), scheduled + INTERVAL 4 HOURS), NULL, 0, -1
    FROM _legs
    WHERE departed IS NULL OR departed > scheduled
),
binned AS (
    -- An event counts from the first grid point that is not before it.
    SELECT
        origin,
        time_bucket(INTERVAL 15 MINUTES, moment + INTERVAL 15 MINUTES - INTERVAL 1 MICROSECOND) AS event_timestamp,
        sum(delay) AS delay,
        sum(departures) AS departures,
        sum(departures * (coalesce(delay, 0) > 15)::INT) AS late,
        sum(waiting) AS waiting
    FROM events
    GROUP BY ALL
),
grid AS (
    SELECT origin, unnest(generate_series(first, last, INTERVAL 15 MINUTES)) AS event_timestamp
    FROM (SELECT origin, min(event_timestamp) AS first, max(event_timestamp) AS last FROM binned GROUP BY origin)
)
SELECT
    origin,
    event_timestamp,
    sum(delay) OVER two_hours / nullif(sum(departures) OVER two_hours, 0) AS origin_delay_2h,
    sum(late) OVER two_hours / nullif(sum(departures) OVER two_hours, 0) AS origin_late_share_2h,
    CAST(coalesce(sum(departures) OVER two_hours, 0) AS BIGINT) AS origin_departures_2h,
    CAST(coalesce(sum(waiting) OVER (PARTITION BY origin ORDER BY event_timestamp), 0) AS BIGINT) AS origin_overdue
FROM grid
LEFT JOIN binned USING (origin, event_timestamp)
WINDOW two_hours AS (PARTITION BY origin ORDER BY event_timestamp ROWS BETWEEN 7 PRECEDING AND CURRENT ROW)
ORDER BY event_timestamp, origin
