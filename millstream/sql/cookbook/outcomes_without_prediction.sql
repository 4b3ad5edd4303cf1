-- title: Outcomes of nothing
-- question: Which outcomes name an event that was never answered?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 50: how many rows
SELECT event_id, key, label, value, known_at
FROM outcomes
WHERE kafka_unreadable = '' AND kafka_time >= {since:DateTime} AND event_id NOT IN
(
    SELECT event_id FROM predictions
    WHERE event_id IN (SELECT event_id FROM outcomes WHERE kafka_time >= {since:DateTime})
)
ORDER BY known_at DESC
LIMIT {rows:UInt32}
