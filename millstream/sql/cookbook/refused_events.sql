-- title: Refused events
-- question: Which events were refused last, where do they lie, and which bytes are they?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 20: how many rows
SELECT refused_at, source_topic, source_partition, source_offset, attempt, stage, error, reason, length(kafka_value) AS bytes, hex(substring(kafka_value, 1, 32)) AS first_bytes
FROM dead_letters
WHERE kafka_unreadable = '' AND refused_at >= {since:DateTime}
ORDER BY refused_at DESC
LIMIT {rows:UInt32}
