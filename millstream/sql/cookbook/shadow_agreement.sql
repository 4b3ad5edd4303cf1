-- title: Shadows
-- question: How often does a shadow say the same as the model that answers?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT p.model_version AS answered, s.model_version AS beside, s.role AS role, count() AS events, round(avg(p.label = s.label), 4) AS agree, round(avg(abs(p.score - s.score)), 4) AS mean_difference
FROM (SELECT source_topic, source_partition, source_offset, model_version, label, score FROM predictions_once WHERE published_at >= {since:DateTime}) AS p
INNER JOIN
(
    SELECT * FROM shadows WHERE kafka_unreadable = '' AND refused = ''
    ORDER BY source_topic, source_partition, source_offset, model_digest LIMIT 1 BY source_topic, source_partition, source_offset, model_digest
) AS s USING (source_topic, source_partition, source_offset)
GROUP BY answered, beside, role
ORDER BY answered, beside, role
