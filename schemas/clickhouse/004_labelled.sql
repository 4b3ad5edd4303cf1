-- One row for every record of STREAM.labelled (schemas/labelled.v1.avsc).
CREATE TABLE IF NOT EXISTS {database}.labelled
(
    id               String                  COMMENT 'source_partition/source_offset/version; a join that is at least once may repeat one',
    event_id         String                  COMMENT 'The event''s id',
    key              String                  COMMENT 'The event''s key',
    version          Int32                   COMMENT '1 for the first record of a prediction, one more for each correction',
    status           LowCardinality(String)  COMMENT 'labelled, corrected or never_labelled',
    label            LowCardinality(Nullable(String)) COMMENT 'The true label; null for regression and where no outcome came',
    value            Nullable(Float64)       COMMENT 'The true value; null for classification and where no outcome came',
    known_at         Nullable(DateTime64(6, 'UTC')) COMMENT 'When the outcome became known',
    predicted        LowCardinality(Nullable(String)) COMMENT 'The predicted label; null for regression',
    score            Nullable(Float64)       COMMENT 'As in predictions',
    scores           Array(Float64)          COMMENT 'As in predictions',
    confidence       Nullable(Float64)       COMMENT 'As in predictions',
    model            LowCardinality(String)  COMMENT 'Name of the bundle that predicted',
    model_version    LowCardinality(String)  COMMENT 'Its version',
    model_digest     LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    event_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the event happened, by its own clock',
    published_at     DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'The event''s Kafka timestamp',
    scored_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the model had answered',
    source_topic     LowCardinality(String)  COMMENT 'The event''s topic',
    source_partition Int32                   COMMENT 'The event''s partition',
    source_offset    Int64 CODEC(Delta, ZSTD(1)) COMMENT 'The event''s offset',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the labelled record',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp: when it was joined',
    kafka_key        String                  COMMENT 'Its Kafka key: the event''s key',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition',
    INDEX by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_event_time event_time TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Every prediction with its outcome, each correction a row of its own';

CREATE VIEW IF NOT EXISTS {database}.labelled_now AS
SELECT * FROM {database}.labelled
WHERE kafka_unreadable = ''
ORDER BY source_topic, source_partition, source_offset, version DESC
LIMIT 1 BY source_topic, source_partition, source_offset
