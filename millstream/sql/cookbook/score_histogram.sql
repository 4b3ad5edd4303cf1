-- title: Score histogram
-- question: How are the scores of each version distributed?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT model_version, floor(score, 1) AS score_from, count() AS answers, bar(count(), 0, max(count()) OVER (PARTITION BY model_version), 30) AS picture
FROM predictions_once
WHERE published_at >= {since:DateTime} AND isFinite(score)
GROUP BY model_version, score_from
ORDER BY model_version, score_from
