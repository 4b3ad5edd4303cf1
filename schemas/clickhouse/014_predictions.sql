-- What makes the views quick. A projection lies in the part that it is of: it lands with the part's
-- rows or not at all, so a sink that is killed and a block that comes twice leave it exact.
-- known_offsets: which of 64 neighbouring events were answered, and how often: finds what came twice.
-- by_day: counts. Its last key is log2 of the microseconds from published to scored, in sixteenths.
ALTER TABLE {database}.predictions
    MODIFY COLUMN event_id CODEC(ZSTD(1)),
    MODIFY COLUMN key CODEC(ZSTD(1)),
    MODIFY COLUMN kafka_key CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_published published_at TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_source source_offset TYPE minmax GRANULARITY 1,
    ADD PROJECTION IF NOT EXISTS known_offsets
    (
        SELECT
            kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 64),
            count(), groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(source_offset, 63)))
        GROUP BY kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 64)
    ),
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT
            kafka_unreadable, toDate32(published_at), model, model_version, answered_by, in_budget,
            toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at), 1)))),
            count()
        GROUP BY
            kafka_unreadable, toDate32(published_at), model, model_version, answered_by, in_budget,
            toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at), 1))))
    );

ALTER TABLE {database}.predictions MATERIALIZE INDEX IF EXISTS by_published, MATERIALIZE INDEX IF EXISTS by_source,
    MATERIALIZE PROJECTION IF EXISTS known_offsets, MATERIALIZE PROJECTION IF EXISTS by_day
