-- One row for every record of STREAM.releases (schemas/release.v1.avsc): releases, switches, failures.
CREATE TABLE IF NOT EXISTS {database}.releases
(
    record              LowCardinality(String)  COMMENT 'release, switch or failed',
    id                  String                  COMMENT 'Of the release',
    number              Int64                   COMMENT '1, 2, 3 ...: the highest in force on a partition answers it',
    stream              LowCardinality(String)  COMMENT 'The stream that it is of',
    kind                LowCardinality(String)  COMMENT 'release, canary, promote or rollback',
    said_at             DateTime64(6, 'UTC')    COMMENT 'When it was decided, switched or failed',
    said_by             String                  COMMENT 'Who decided; of a switch or a failure the scorer',
    champion_name       LowCardinality(String)  COMMENT 'The model that answers',
    champion_version    LowCardinality(String)  COMMENT 'Its version',
    champion_digest     LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    champion_location   String                  COMMENT 'Where it can be fetched; empty: the stream''s registry knows',
    challenger_name     LowCardinality(String)  COMMENT 'The model on trial; empty where there is none',
    challenger_version  LowCardinality(String)  COMMENT 'Its version',
    challenger_digest   LowCardinality(String)  COMMENT 'sha256 of its ONNX file',
    challenger_location String                  COMMENT 'Where it can be fetched',
    canary_share        Float64                 COMMENT 'Share of the keys whose events the challenger answers',
    shadow_names        Array(String)           COMMENT 'Models that score everything and answer nothing',
    shadow_versions     Array(String)           COMMENT 'Their versions',
    shadow_digests      Array(String)           COMMENT 'Their digests',
    shadow_locations    Array(String)           COMMENT 'Where they can be fetched',
    effective           LowCardinality(String)  COMMENT 'at_once, offsets or time',
    from_offsets        Array(Int64)            COMMENT 'offsets: the first one answered so, for each partition in order',
    from_time           Nullable(DateTime64(6, 'UTC')) COMMENT 'time: each partition switches at its first event of this time or later',
    reason              String                  COMMENT 'One line for people',
    evidence            String                  COMMENT 'A JSON object: what it was decided by',
    source_partition    Int32                   COMMENT 'switch: of STREAM.events; else -1',
    first_offset        Int64                   COMMENT 'switch: from this offset on the release answers; else -1',
    late                Bool                    COMMENT 'switch: it came later than the release asked for',
    before_version      LowCardinality(String)  COMMENT 'switch: the champion that answered this partition until then',
    before_digest       LowCardinality(String)  COMMENT 'switch: its digest',
    error               String                  COMMENT 'failed: why a model did not load',
    is_over             Bool                    COMMENT 'failed: it loaded after all, or another release took over',
    kafka_topic         LowCardinality(String)  COMMENT 'Topic of the record',
    kafka_partition     Int32                   COMMENT 'Its partition',
    kafka_offset        Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Its offset; one row each',
    kafka_time          DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Its Kafka timestamp',
    kafka_key           String                  COMMENT 'Its Kafka key',
    kafka_value         String                  COMMENT 'Its bytes, only where it could not be read',
    kafka_schema_id     Int32                   COMMENT 'Registry id of its schema; -1 without one',
    kafka_unreadable    LowCardinality(String)  COMMENT 'Why it could not be read; empty where it could',
    kafka_block_time    DateTime64(6, 'UTC')    COMMENT 'Kafka timestamp of the first record of its insert: the table partition'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(kafka_block_time)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Releases of models, their switches on each partition, their failures';

-- Which models answered which offsets. next_offset is null while it goes on; an event below the first
-- switch of its partition was answered by the model of stream.toml, which before_version names.
CREATE VIEW IF NOT EXISTS {database}.model_timeline AS
SELECT
    source_partition, first_offset, nullIf(following, -1) AS next_offset, switched_at, number, id, kind,
    champion_name, champion_version, champion_digest,
    challenger_name, challenger_version, challenger_digest, canary_share, shadow_versions,
    before_version, before_digest, late, reason, scorer
FROM
(
    SELECT
        *,
        leadInFrame(first_offset, 1, toInt64(-1)) OVER (
            PARTITION BY source_partition ORDER BY number
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS following
    FROM
    (
        SELECT
            source_partition, first_offset, number, id, kind, said_at AS switched_at, said_by AS scorer,
            champion_name, champion_version, champion_digest,
            challenger_name, challenger_version, challenger_digest, canary_share, shadow_versions,
            before_version, before_digest, late, reason
        FROM {database}.releases
        WHERE record = 'switch' AND kafka_unreadable = ''
        ORDER BY kafka_offset DESC
        LIMIT 1 BY source_partition, number
    )
)
ORDER BY source_partition, number
