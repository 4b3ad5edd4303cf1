-- title: Releases
-- question: What was released, by whom, and did any model fail to load?
SELECT number, kind, said_at, said_by, champion_version, challenger_version, canary_share, effective, reason,
    (SELECT groupUniqArray((r.number, f.error)) FROM releases AS f INNER JOIN releases AS r ON f.id = r.id WHERE f.record = 'failed' AND r.record = 'release') AS failures
FROM releases
WHERE record = 'release' AND kafka_unreadable = ''
ORDER BY number, kafka_offset
LIMIT 1 BY number, id
