-- title: Confusion
-- question: Which labels does each version take for which?
SELECT model_version, label, predicted, sum(answers) AS answers
FROM labelled_by_day
WHERE label IS NOT NULL AND predicted IS NOT NULL
GROUP BY model_version, label, predicted
ORDER BY model_version, label, predicted
