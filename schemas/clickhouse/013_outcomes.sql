-- One row for every record of STREAM.outcomes (schemas/outcome.v1.avsc): late, repeated and corrected ones too.
CREATE TABLE IF NOT EXISTS {database}.outcomes
(
    event_id         String CODEC(ZSTD(1))   COMMENT 'The event''s id',
    key              String CODEC(ZSTD(1))   COMMENT 'The event''s key',
    label            LowCardinality(Nullable(String)) COMMENT 'The true label; null for regression',
    value            Nullable(Float64)       COMMENT 'The true value; null for classification',
    known_at         DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it became known',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the outcome',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp: when it was published',
    kafka_key        String CODEC(ZSTD(1))   COMMENT 'Its Kafka key: the event''s key',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition',
    INDEX by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_published kafka_time TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every outcome as it was published: what turned out to be true of an event'
