-- One row for every record of STREAM.events, readable or not. `millstream migrate` adds one column
-- for each field of the event schema.
CREATE TABLE IF NOT EXISTS {database}.events
(
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the event',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp: when it was published',
    kafka_key        String                  COMMENT 'Its Kafka key',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every event as it was published'
