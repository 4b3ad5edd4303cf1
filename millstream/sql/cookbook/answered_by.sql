-- title: What answered
-- question: How much was answered by the full model, a cheaper one, the cache, or not at all?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, answered_by, sum(answers) AS answered, round(answered / sum(answered) OVER (PARTITION BY day), 4) AS share
FROM predictions_by_day
WHERE day >= {since:Date}
GROUP BY day, answered_by
ORDER BY day, answered_by
