-- title: Alarms
-- question: What is firing, and what fired before?
-- parameter: rows UInt32 = 50: how many rows
SELECT rule, severity, status, summary, started_at, updated_at
FROM
(
    SELECT * FROM alarms WHERE kafka_unreadable = '' ORDER BY id, revision DESC LIMIT 1 BY id
)
ORDER BY status, started_at DESC
LIMIT {rows:UInt32}
