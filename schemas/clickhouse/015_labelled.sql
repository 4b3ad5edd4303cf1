-- As 014_predictions.sql. known_offsets finds what came twice; of a model of other than two labels also what was
-- corrected since. With two labels a correction says by itself what it takes back: the other label.
-- by_day: counts and sums for every measure of performance_by_version_and_day, calibration and value_by_version, the
-- losses as they are and as they would be of the other label.
-- The slice is there because ClickHouse reads length(scores) as a column of its own, in queries but not in projections.
-- delays: how late first labels came: log2 of the microseconds from scored to known, in sixteenths.
ALTER TABLE {database}.labelled
    MODIFY COLUMN id CODEC(ZSTD(1)),
    MODIFY COLUMN event_id CODEC(ZSTD(1)),
    MODIFY COLUMN key CODEC(ZSTD(1)),
    MODIFY COLUMN kafka_key CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_published published_at TYPE minmax GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_source source_offset TYPE minmax GRANULARITY 1,
    ADD PROJECTION IF NOT EXISTS known_offsets
    (
        SELECT
            kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 64), if(length(arraySlice(scores, 1, 3)) = 2, version, 0),
            count(), groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(source_offset, 63)))
        GROUP BY kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 64), if(length(arraySlice(scores, 1, 3)) = 2, version, 0)
    ),
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT
            kafka_unreadable, toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)), model, model_version, status, version, label, predicted,
            length(arraySlice(scores, 1, 3)) = 2, ifNull(confidence = score, false), isFinite(ifNull(score, nan)),
            toUInt8(least(floor(20 * ifNotFinite(ifNull(confidence, 0), 0)), 19)),
            count(), sumIf(confidence, isFinite(ifNull(confidence, nan))),
            sumIf(pow(1 - if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))),
            sumIf(-log(greatest(if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))),
            sumIf(pow(if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))),
            sumIf(-log(greatest(1 - if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))),
            sumIf(abs(value - score), isFinite(ifNull(score, nan))),
            sumIf(pow(value - score, 2), isFinite(ifNull(score, nan)))
        GROUP BY
            kafka_unreadable, toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)), model, model_version, status, version, label, predicted,
            length(arraySlice(scores, 1, 3)) = 2, ifNull(confidence = score, false), isFinite(ifNull(score, nan)),
            toUInt8(least(floor(20 * ifNotFinite(ifNull(confidence, 0), 0)), 19))
    ),
    ADD PROJECTION IF NOT EXISTS delays
    (
        SELECT
            kafka_unreadable, toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)), model, model_version, status, version,
            ifNull(toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(known_at) - toUnixTimestamp64Micro(scored_at), 1)))), -1),
            count()
        GROUP BY
            kafka_unreadable, toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)), model, model_version, status, version,
            ifNull(toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(known_at) - toUnixTimestamp64Micro(scored_at), 1)))), -1)
    );

ALTER TABLE {database}.labelled MATERIALIZE INDEX IF EXISTS by_published, MATERIALIZE INDEX IF EXISTS by_source,
    MATERIALIZE PROJECTION IF EXISTS known_offsets, MATERIALIZE PROJECTION IF EXISTS by_day, MATERIALIZE PROJECTION IF EXISTS delays
