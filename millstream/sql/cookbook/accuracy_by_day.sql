-- title: Accuracy by day
-- question: How right was each model version on each day?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, model, model_version, labels, round(accuracy, 4) AS accuracy, round(precision, 4) AS precision, round(recall, 4) AS recall
FROM performance_by_version_and_day
WHERE day >= {since:Date}
ORDER BY day, model, model_version
