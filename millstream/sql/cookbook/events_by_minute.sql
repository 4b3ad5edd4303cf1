-- title: Events by minute
-- question: How many events came in each minute, and how evenly over the partitions?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 60: how many rows
SELECT toStartOfMinute(kafka_time) AS minute, count() AS events, round(events / 60, 1) AS a_second, uniqExact(kafka_partition) AS partitions
FROM events
WHERE kafka_time >= {since:DateTime}
GROUP BY minute
ORDER BY minute DESC
LIMIT {rows:UInt32}
