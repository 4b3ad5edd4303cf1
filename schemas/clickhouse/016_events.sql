-- As 014_predictions.sql; every event has one row, so nothing comes twice here.
ALTER TABLE {database}.events
    MODIFY COLUMN kafka_key CODEC(ZSTD(1)),
    ADD INDEX IF NOT EXISTS by_published kafka_time TYPE minmax GRANULARITY 1,
    ADD PROJECTION IF NOT EXISTS by_day
    (
        SELECT toDate32(kafka_time), kafka_unreadable, count()
        GROUP BY toDate32(kafka_time), kafka_unreadable
    );

ALTER TABLE {database}.events MATERIALIZE INDEX IF EXISTS by_published, MATERIALIZE PROJECTION IF EXISTS by_day
