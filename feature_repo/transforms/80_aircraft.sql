-- What an aircraft is; it does not change.
SELECT tailnum, TIMESTAMPTZ '2000-01-01 00:00:00+00' AS event_timestamp, year AS aircraft_built, seats AS aircraft_seats, engines AS aircraft_engines
FROM planes
ORDER BY tailnum
