-- title: Versions compared
-- question: Which model version is the most accurate, and how sure is that?
WITH
    sum(accuracy * labels) / sum(labels) AS p,
    sum(labels) AS n,
    1.96 AS z
SELECT
    model, model_version, n AS outcomes, round(p, 4) AS share_right,
    round((p + z * z / (2 * n) - z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n), 4) AS at_least,
    round((p + z * z / (2 * n) + z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n), 4) AS at_most
FROM performance_by_version_and_day
WHERE accuracy IS NOT NULL
GROUP BY model, model_version
ORDER BY at_least DESC
