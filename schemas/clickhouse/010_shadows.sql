-- One row for every record of STREAM.shadows (schemas/shadow.v1.avsc).
CREATE TABLE IF NOT EXISTS {database}.shadows
(
    event_id         String                  COMMENT 'The event''s id',
    event_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened, by its own clock',
    scored_at        DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it had been scored',
    release          Int64                   COMMENT 'Number of the release in force',
    role             LowCardinality(String)  COMMENT 'champion: the challenger answered; challenger: the champion did; shadow: it never answers',
    model            LowCardinality(String)  COMMENT 'Name of the model that did not answer',
    model_version    LowCardinality(String)  COMMENT 'Its version',
    model_digest     LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    score            Nullable(Float64)       COMMENT 'As in predictions; NaN where it was refused',
    scores           Array(Float64)          COMMENT 'As in predictions; empty where it was refused',
    label            LowCardinality(Nullable(String)) COMMENT 'The predicted label',
    confidence       Nullable(Float64)       COMMENT 'Probability of the predicted label',
    refused          LowCardinality(String)  COMMENT 'Why this model could not score it; empty where it could',
    source_topic     LowCardinality(String)  COMMENT 'The event''s topic',
    source_partition Int32                   COMMENT 'The event''s partition',
    source_offset    Int64 CODEC(Delta, ZSTD(1)) COMMENT 'The event''s offset',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the record',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key        String                  COMMENT 'Its Kafka key: the event''s own bytes',
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
COMMENT 'What the models said that did not answer'
