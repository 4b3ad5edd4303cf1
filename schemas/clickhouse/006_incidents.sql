-- One row for every record of STREAM.incidents (schemas/incident.v1.avsc): each revision of each incident.
CREATE TABLE IF NOT EXISTS {database}.incidents
(
    id               String                  COMMENT 'Of one incident from its beginning to its end',
    stream           LowCardinality(String)  COMMENT 'The stream that it is of',
    verdict          LowCardinality(String)  COMMENT 'broken_pipe, harmless_shift, harmful_shift or concept_change',
    status           LowCardinality(String)  COMMENT 'opened, updated or resolved',
    cause            LowCardinality(String)  COMMENT 'What it was opened for: a sign of a broken pipe, inputs or loss',
    features         Array(String)           COMMENT 'Event fields that show it',
    slices           Array(String)           COMMENT 'FIELD=VALUE where loss rose',
    first_partition  Int32                   COMMENT 'Partition of the first event that it concerns',
    first_offset     Int64                   COMMENT 'Its offset',
    first_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When that event happened, by its own clock',
    updated_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Time of the event that led to this revision',
    revision         Int32                   COMMENT '1 for the first, one more for each change; a killed writer may repeat one',
    evidence         String                  COMMENT 'A JSON object of texts: what was measured, against what',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the record',
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
COMMENT 'Every revision of every incident';

CREATE VIEW IF NOT EXISTS {database}.incidents_now AS
SELECT * FROM {database}.incidents
WHERE kafka_unreadable = ''
ORDER BY id, revision DESC
LIMIT 1 BY id
