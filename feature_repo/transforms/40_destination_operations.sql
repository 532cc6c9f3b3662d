-- Every hour: how flights arrived at a destination in the last three hours, and in the last day.
WITH binned AS (
    SELECT
        dest,
        time_bucket(INTERVAL 1 HOUR, arrived + INTERVAL 1 HOUR - INTERVAL 1 MICROSECOND) AS event_timestamp,
        sum(arr_delay) AS delay,
        count(*) AS arrivals
    FROM _legs
    WHERE arr_delay IS NOT NULL AND arrived IS NOT NULL
    GROUP BY ALL
),
grid AS (
    SELECT dest, unnest(generate_series(first, last + INTERVAL 1 DAY, INTERVAL 1 HOUR)) AS event_timestamp
    FROM (SELECT dest, min(event_timestamp) AS first, max(event_timestamp) AS last FROM binned GROUP BY dest)
)
SELECT
    dest,
    event_timestamp,
    sum(delay) OVER three_hours / nullif(sum(arrivals) OVER three_hours, 0) AS destination_delay_3h,
    sum(delay) OVER day / nullif(sum(arrivals) OVER day, 0) AS destination_delay_24h
FROM grid
LEFT JOIN binned USING (dest, event_timestamp)
WINDOW
    three_hours AS (PARTITION BY dest ORDER BY event_timestamp ROWS BETWEEN 2 PRECEDING AND CURRENT ROW),
    day AS (PARTITION BY dest ORDER BY event_timestamp ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
ORDER BY event_timestamp, dest
