-- One row a tumour. The data carries no time, so its measurements are known since a fixed moment.
SELECT tumour, TIMESTAMPTZ '2000-01-01 00:00:00Z' AS event_timestamp, * EXCLUDE (tumour, benign, split)
FROM tumours
ORDER BY tumour
