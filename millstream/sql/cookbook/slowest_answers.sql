-- title: The slowest answers
-- question: Which events waited longest for their answer?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 20: how many rows
SELECT event_id, published_at, scored_at, (toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at)) / 1000 AS latency_ms, model_version, source_partition, source_offset
FROM predictions_once
WHERE published_at >= {since:DateTime}
ORDER BY latency_ms DESC
LIMIT {rows:UInt32}
