-- Every hour: how a carrier's flights departed and arrived in the last three hours.
WITH events AS (
    SELECT carrier, departed AS moment, dep_delay AS departure_delay, NULL AS arrival_delay FROM _legs WHERE departed IS NOT NULL
    UNION ALL
    SELECT carrier, arrived, NULL, arr_delay FROM _legs WHERE arr_delay IS NOT NULL AND arrived IS NOT NULL
),
binned AS (
    SELECT
        carrier,
        time_bucket(INTERVAL 1 HOUR, moment + INTERVAL 1 HOUR - INTERVAL 1 MICROSECOND) AS event_timestamp,
        sum(departure_delay) AS departure_delay,
        count(departure_delay) AS departures,
        sum(arrival_delay) AS arrival_delay,
        count(arrival_delay) AS arrivals
    FROM events
    GROUP BY ALL
),
grid AS (
    SELECT carrier, unnest(generate_series(first, last + INTERVAL 1 DAY, INTERVAL 1 HOUR)) AS event_timestamp
    FROM (SELECT carrier, min(event_timestamp) AS first, max(event_timestamp) AS last FROM binned GROUP BY carrier)
)
SELECT
    carrier,
    event_timestamp,
    sum(departure_delay) OVER recent / nullif(sum(departures) OVER recent, 0) AS carrier_departure_delay_3h,
    sum(arrival_delay) OVER recent / nullif(sum(arrivals) OVER recent, 0) AS carrier_arrival_delay_3h
FROM grid
LEFT JOIN binned USING (carrier, event_timestamp)
WINDOW recent AS (PARTITION BY carrier ORDER BY event_timestamp ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)
ORDER BY event_timestamp, carrier
