-- title: The surest mistakes
-- question: Where was a model most sure and wrong?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 20: how many rows
SELECT event_id, published_at, model_version, predicted, label, confidence
FROM scored_events
WHERE published_at >= {since:DateTime} AND is_correct = 0
ORDER BY confidence DESC, published_at
LIMIT {rows:UInt32}
