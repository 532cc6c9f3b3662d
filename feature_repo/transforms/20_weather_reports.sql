-- An observation carries its hour's largest precipitation, so it is known when the hour is over.
SELECT
    origin,
    time_hour + INTERVAL 1 HOUR AS event_timestamp,
    temp,
    dewp AS dew_point,
    humid AS humidity,
    CAST(wind_dir AS DOUBLE) AS wind_direction,
    CASE WHEN wind_speed < 200 THEN wind_speed END AS wind_speed,
    precip AS precipitation,
    pressure,
    visib AS visibility
FROM weather
ORDER BY event_timestamp, origin
