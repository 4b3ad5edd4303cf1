-- One row for every record of STREAM.alarms (schemas/alarm.v1.avsc): each revision of each alarm.
CREATE TABLE IF NOT EXISTS {database}.alarms
(
    id               String                  COMMENT 'Of one alarm from its firing to its end',
    stream           LowCardinality(String)  COMMENT 'The stream that it is of',
    rule             LowCardinality(String)  COMMENT 'Name of the rule in stream.toml; verify''s are verify_KIND',
    severity         LowCardinality(String)  COMMENT 'page: wake someone; ticket: in working hours; info: some day',
    status           LowCardinality(String)  COMMENT 'firing or resolved',
    summary          String                  COMMENT 'One line for people',
    cause            LowCardinality(String)  COMMENT 'A short stable word to group by',
    evidence         String                  COMMENT 'A JSON object: what was measured, against what',
    labels           String                  COMMENT 'A JSON object of texts: which of the rule''s subjects it is',
    started_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it began to fire',
    updated_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When this revision was made',
    revision         Int32                   COMMENT '1 for the first, one more for each change; a killed writer may repeat one',
    source           String                  COMMENT 'Who says so: rule, verify, or incident/ID',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the alarm',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key        String                  COMMENT 'Its Kafka key: the id',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every revision of every alarm'
