-- title: Values of a field
-- question: What values has an event field, and how often is it missing?
-- parameter: field Identifier: an event field
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT
    count() AS events, countIf({field:Identifier} IS NULL) AS missing, uniq({field:Identifier}) AS different,
    min({field:Identifier}) AS lowest, max({field:Identifier}) AS highest
FROM events
WHERE kafka_unreadable = '' AND kafka_time >= {since:DateTime}
