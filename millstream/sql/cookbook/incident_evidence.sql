-- title: Evidence of an incident
-- question: What was measured in an incident, against what?
-- parameter: incident String = : an incident's id; empty: all
SELECT i.id AS id, i.revision AS revision, i.verdict AS verdict, i.updated_at AS updated_at, found.1 AS measured, found.2 AS said
FROM incidents_now AS i
ARRAY JOIN JSONExtractKeysAndValues(i.evidence, 'String') AS found
WHERE {incident:String} IN ('', i.id)
ORDER BY first_time DESC, measured
