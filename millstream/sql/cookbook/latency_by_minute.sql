-- title: Latency by minute
-- question: In which minutes was scoring slow?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 60: how many rows
WITH (toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at)) / 1000 AS ms
SELECT toStartOfMinute(published_at) AS minute, count() AS answers, round(quantile(0.5)(ms), 2) AS p50_ms, round(quantile(0.99)(ms), 2) AS p99_ms, round(max(ms), 2) AS longest_ms
FROM predictions_once
WHERE published_at >= {since:DateTime}
GROUP BY minute
ORDER BY p99_ms DESC
LIMIT {rows:UInt32}
