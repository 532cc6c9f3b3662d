-- How a flight number did on its last ten arrivals.
WITH arrivals AS (
    SELECT carrier || flight || origin AS flight_key, arrived AS event_timestamp, avg(arr_delay) AS delay, avg((arr_delay > 15)::INT) AS late
    FROM _legs
    WHERE arr_delay IS NOT NULL AND arrived IS NOT NULL
    GROUP BY ALL
)
SELECT
    flight_key,
    event_timestamp,
    avg(delay) OVER last_ten AS flight_delay_10,
    avg(late) OVER last_ten AS flight_late_share_10
FROM arrivals
WINDOW last_ten AS (PARTITION BY flight_key ORDER BY event_timestamp ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)
ORDER BY event_timestamp, flight_key
