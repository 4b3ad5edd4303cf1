-- title: Accuracy by a field
-- question: For which values of an event field is the model worse?
-- parameter: field Identifier: an event field
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 50: how many rows
SELECT toString({field:Identifier}) AS slice, count() AS labels, round(avg(is_correct), 4) AS accuracy
FROM scored_events
WHERE published_at >= {since:DateTime} AND is_correct IS NOT NULL
GROUP BY slice
ORDER BY accuracy, slice
LIMIT {rows:UInt32}
