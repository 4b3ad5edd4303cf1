-- title: Published twice
-- question: Which event ids came more often than once, and were the answers the same?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 50: how many rows
SELECT event_id, count() AS answers, uniqExact(label) AS different_answers, min(published_at) AS first, max(published_at) AS last
FROM predictions_once
WHERE published_at >= {since:DateTime} AND event_id != ''
GROUP BY event_id
HAVING answers > 1
ORDER BY answers DESC, event_id
LIMIT {rows:UInt32}
