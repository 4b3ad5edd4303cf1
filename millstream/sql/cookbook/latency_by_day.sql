-- title: Latency by day
-- question: How long from published to scored, and how many answers were late?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, model_version, answered, late, round(p50_ms, 2) AS p50_ms, round(p95_ms, 2) AS p95_ms, round(p99_ms, 2) AS p99_ms, round(p999_ms, 2) AS p999_ms
FROM latency
WHERE day >= {since:Date}
