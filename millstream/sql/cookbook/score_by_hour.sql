-- title: Score by hour
-- question: Does the mean score move, and the share of each answer?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT toStartOfHour(published_at) AS hour, model_version, label AS predicted, count() AS answers, round(avg(score), 4) AS mean_score
FROM predictions_once
WHERE published_at >= {since:DateTime}
GROUP BY hour, model_version, predicted
ORDER BY hour, model_version, predicted
