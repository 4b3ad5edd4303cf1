-- One row for every record of STREAM.dead-letters (schemas/dead_letter.v1.avsc).
CREATE TABLE IF NOT EXISTS {database}.dead_letters
(
    source_topic     LowCardinality(String)  COMMENT 'Topic of the refused event',
    source_partition Int32                   COMMENT 'Its partition',
    source_offset    Int64                   COMMENT 'Its offset',
    stage            LowCardinality(String)  COMMENT 'Where it was refused: frame, decode, validate, score or encode',
    error            LowCardinality(String)  COMMENT 'Why, as a short stable word',
    reason           String                  COMMENT 'Why, as a sentence',
    attempt          Int32                   COMMENT '1 for an event, one more for each redrive',
    event_schema_id  Nullable(Int32)         COMMENT 'Registry id of its schema, where it had one',
    model            LowCardinality(String)  COMMENT 'The bundle that would have answered',
    model_version    LowCardinality(String)  COMMENT 'Its version',
    refused_at       DateTime64(3, 'UTC')    COMMENT 'When it was refused',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the dead letter',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64                   COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC')    COMMENT 'Its Kafka timestamp',
    kafka_key        String                  COMMENT 'The refused event''s key',
    kafka_value      String                  COMMENT 'The refused event''s bytes; empty where the stream has private fields',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why the letter itself could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every refused event with its reason'
