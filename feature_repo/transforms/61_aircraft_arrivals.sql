-- Where an aircraft last arrived, and how late.
SELECT
    tailnum,
    arrived AS event_timestamp,
    max(arr_delay) AS aircraft_arrival_delay,
    max(distance) AS aircraft_last_distance
FROM _legs
WHERE arr_delay IS NOT NULL AND arrived IS NOT NULL AND tailnum IS NOT NULL
GROUP BY ALL
ORDER BY event_timestamp, tailnum
