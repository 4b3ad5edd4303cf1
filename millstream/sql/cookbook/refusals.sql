-- title: Refusals
-- question: Why are events refused, and since when?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT stage, error, count() AS letters, uniqExact((source_partition, source_offset)) AS events, min(refused_at) AS first, max(refused_at) AS last, any(reason) AS one_reason
FROM dead_letters
WHERE kafka_unreadable = '' AND refused_at >= {since:DateTime}
GROUP BY stage, error
ORDER BY letters DESC
