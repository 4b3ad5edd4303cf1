-- title: Corrected outcomes
-- question: Which outcomes were corrected, and did the answer become wrong by it?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 50: how many rows
SELECT event_id, version, label, predicted, known_at, label = predicted AS is_correct
FROM labelled_now
WHERE status = 'corrected' AND published_at >= {since:DateTime}
ORDER BY known_at DESC
LIMIT {rows:UInt32}
