-- How an aircraft's last departure went.
SELECT tailnum, departed AS event_timestamp, max(dep_delay) AS aircraft_departure_delay
FROM _legs
WHERE departed IS NOT NULL AND tailnum IS NOT NULL
GROUP BY ALL
ORDER BY event_timestamp, tailnum
