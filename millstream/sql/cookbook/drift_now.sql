-- title: Drift now
-- question: Where does each detector stand against its limit?
-- parameter: rows UInt32 = 100: how many rows
SELECT detector, signal, measure, feature, slice, model_version, argMax(value, (event_time, id)) AS now, argMax(threshold, (event_time, id)) AS alarms_above, argMax(status, (event_time, id)) AS stands, max(event_time) AS at
FROM drift
WHERE kafka_unreadable = ''
GROUP BY detector, signal, measure, feature, slice, model_version
ORDER BY stands, now / nullIf(alarms_above, 0) DESC
LIMIT {rows:UInt32}
