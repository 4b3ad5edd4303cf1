-- title: The busiest keys
-- question: Which keys have the most events, and how are they answered?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
-- parameter: rows UInt32 = 20: how many rows
SELECT key, count() AS answers, round(avg(score), 4) AS mean_score, topK(1)(label)[1] AS usual_answer
FROM predictions_once
WHERE published_at >= {since:DateTime}
GROUP BY key
ORDER BY answers DESC, key
LIMIT {rows:UInt32}
