-- title: Incidents
-- question: What went wrong, since when, and is it over?
-- parameter: rows UInt32 = 50: how many rows
SELECT first_time, updated_at, status, verdict, cause, features, slices, id
FROM incidents_now
ORDER BY first_time DESC
LIMIT {rows:UInt32}
