-- title: Drift by feature
-- question: Which features moved, on which days?
-- parameter: since Date = 1970-01-01: days from this one on
SELECT day, feature, measure, readings, round(highest, 4) AS highest, round(alarms_above, 4) AS alarms_above, warnings, alarms
FROM drift_by_feature
WHERE day >= {since:Date} AND feature != ''
ORDER BY alarms DESC, highest / nullIf(alarms_above, 0) DESC, day
