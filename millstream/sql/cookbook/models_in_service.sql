-- title: Models in service
-- question: Which models answered which offsets, and why were they released?
SELECT source_partition, first_offset, next_offset, switched_at, number, kind, champion_version, challenger_version, canary_share, reason
FROM model_timeline
