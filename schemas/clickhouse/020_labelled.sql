-- As 019_predictions.sql; the last key as in known_offsets (015_labelled.sql).
ALTER TABLE {database}.labelled
    ADD PROJECTION IF NOT EXISTS known_bits
    (
        SELECT
            kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 65536), if(length(arraySlice(scores, 1, 3)) = 2, version, 0),
            count(), groupBitmap(toUInt32(bitAnd(source_offset, 65535)))
        GROUP BY kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 65536), if(length(arraySlice(scores, 1, 3)) = 2, version, 0)
    );

ALTER TABLE {database}.labelled MATERIALIZE PROJECTION IF EXISTS known_bits
