-- title: Label delay
-- question: How long after the score does the truth come?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, model_version, labels, never_labelled, round(p50_s, 2) AS p50_s, round(p95_s, 2) AS p95_s, round(p99_s, 2) AS p99_s
FROM label_delay
WHERE day >= {since:Date}
