-- The spine: every tumour, asked about at the moment its measurements are known.
SELECT tumour, TIMESTAMPTZ '2000-01-01 00:00:00Z' AS event_timestamp, 1 - benign AS malignant, split
FROM tumours
ORDER BY tumour
