-- One row for every record of STREAM.decisions (schemas/decision.v1.avsc).
CREATE TABLE IF NOT EXISTS {database}.decisions
(
    id                 String                  COMMENT 'Of one decision on the same rows; who judges again repeats it',
    stream             LowCardinality(String)  COMMENT 'The stream that it is of',
    verdict            LowCardinality(String)  COMMENT 'promote, reject, roll_back, keep or hold',
    role               LowCardinality(String)  COMMENT 'What the second model is: challenger, or predecessor of the champion',
    champion           LowCardinality(String)  COMMENT 'The model that answers',
    champion_version   LowCardinality(String)  COMMENT 'Its version',
    champion_digest    LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    challenger         LowCardinality(String)  COMMENT 'The second model',
    challenger_version LowCardinality(String)  COMMENT 'Its version',
    challenger_digest  LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    rows               Int64                   COMMENT 'Labelled rows that both models scored',
    loss               LowCardinality(String)  COMMENT 'error, log_loss or squared_error',
    difference         Float64                 COMMENT 'Mean loss of the champion less that of the second model',
    low                Float64                 COMMENT 'Lower end of its interval, valid at any time with 1 - 2 alpha',
    high               Float64                 COMMENT 'Upper end',
    e_better           Float64                 COMMENT 'Evidence that the second model is better by more than the margin; 1/alpha is enough',
    e_worse            Float64                 COMMENT 'Evidence that it is worse by more than the margin',
    dispersion         Float64                 COMMENT 'By how much neighbouring rows depend on each other; 1: not at all',
    alpha              Float64                 COMMENT 'Chance of each kind of wrong verdict',
    margin             Float64                 COMMENT 'Differences up to it are none',
    failed_gates       Array(String)           COMMENT 'Names of the gates that did not pass',
    reason             String                  COMMENT 'One sentence for people',
    evidence           String                  COMMENT 'A JSON object: rule, finding, gates, measures of both models, slices',
    markdown           String                  COMMENT 'The same for people',
    decided_at         DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was decided',
    kafka_topic        LowCardinality(String)  COMMENT 'Topic of the record',
    kafka_partition    Int32                   COMMENT 'Its partition',
    kafka_offset       Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time         DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key          String                  COMMENT 'Its Kafka key: the id',
    kafka_value        String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id    Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable   LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time   DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What was decided between two models, with its evidence';

CREATE VIEW IF NOT EXISTS {database}.decisions_once AS
SELECT * FROM {database}.decisions
WHERE kafka_unreadable = ''
ORDER BY id, kafka_partition, kafka_offset
LIMIT 1 BY id
