-- One row for every record of STREAM.drift (schemas/drift.v1.avsc).
CREATE TABLE IF NOT EXISTS {database}.drift
(
    id               String                  COMMENT 'Of one reading; a killed writer may repeat it',
    stream           LowCardinality(String)  COMMENT 'The stream that it is of',
    detector         LowCardinality(String)  COMMENT 'monitor, inputs, or one of [[watch.detectors]]',
    signal           LowCardinality(String)  COMMENT 'error, loss, confidence, score or input',
    measure          LowCardinality(String)  COMMENT 'What value is: rate, psi, js, ks, nulls, evidence and the like',
    status           LowCardinality(String)  COMMENT 'reading, warning or alarm',
    feature          LowCardinality(String)  COMMENT 'The event field; empty where it is not about one',
    slice            LowCardinality(String)  COMMENT 'FIELD=VALUE; empty where it is about all events',
    model_version    LowCardinality(String)  COMMENT 'Whose predictions; empty for inputs',
    value            Float64                 COMMENT 'What was measured',
    threshold        Nullable(Float64)       COMMENT 'Above it the detector alarms; null where the value alarms nobody',
    source_partition Int32                   COMMENT 'Partition of the event at which it stands',
    source_offset    Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Offset of that event',
    event_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When that event happened, by its own clock',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the record',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key        String                  COMMENT 'Its Kafka key',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition',
    INDEX by_event_time event_time TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every reading, warning and alarm of every detector'
