-- One row for every record of STREAM.retraining (schemas/retraining.v1.avsc): each stage's start and end.
CREATE TABLE IF NOT EXISTS {database}.retraining
(
    attempt          String                  COMMENT 'Id of the retraining',
    number           Int64                   COMMENT '1, 2, 3 ... of the stream''s retrainings',
    stream           LowCardinality(String)  COMMENT 'The stream that it is of',
    stage            LowCardinality(String)  COMMENT 'collect, train, passport, register, shadow, judge, canary, promote: in this order',
    status           LowCardinality(String)  COMMENT 'asked: a person wants it; started, done: the stage; over: the whole attempt, in this stage',
    trigger          LowCardinality(String)  COMMENT 'incident, schedule, volume, performance, business, manual',
    reason           String                  COMMENT 'Why the attempt began; where it is over, why it ended so',
    at               DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When',
    tries            Int32                   COMMENT 'How often the stage was started: more than 1 where a program was killed in it',
    outcome          LowCardinality(String)  COMMENT 'Of status over: promoted, kept (the champion stays) or failed',
    facts            String                  COMMENT 'A JSON object: what the stage found out',
    said_by          LowCardinality(String)  COMMENT 'Program and slot, or a person',
    kafka_topic      LowCardinality(String)  COMMENT 'Topic of the record',
    kafka_partition  Int32                   COMMENT 'Its partition',
    kafka_offset     Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key        String                  COMMENT 'Its Kafka key: ATTEMPT/STAGE/STATUS',
    kafka_value      String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id  Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Each stage of each retraining'
