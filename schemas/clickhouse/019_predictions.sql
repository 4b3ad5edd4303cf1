-- known_bits: of 65,536 neighbouring events how many rows there are, and how many events. It says in a few
-- thousand rows where nothing came twice, which is nearly everywhere; known_offsets is asked about the rest.
-- 32 bits: the number of a bitmap is of the type of its members, and 65,536 is none of 16 bits.
ALTER TABLE {database}.predictions
    ADD PROJECTION IF NOT EXISTS known_bits
    (
        SELECT
            kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 65536),
            count(), groupBitmap(toUInt32(bitAnd(source_offset, 65535)))
        GROUP BY kafka_unreadable, source_topic, source_partition, intDiv(source_offset, 65536)
    );

ALTER TABLE {database}.predictions MATERIALIZE PROJECTION IF EXISTS known_bits
