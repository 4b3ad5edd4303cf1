-- Copies are looked for in two steps: 65,536 neighbouring events at a time, then, where there is one, 64.
-- labelled_by_day reads labelled_counts once: a correction's second row, which takes the first label back, is
-- made beside it.
CREATE OR REPLACE VIEW {database}.predictions_excess AS
SELECT kafka_topic, kafka_partition, kafka_offset
FROM
(
    SELECT
        kafka_topic, kafka_partition, kafka_offset,
        row_number() OVER (
            PARTITION BY source_topic, source_partition, source_offset ORDER BY kafka_topic, kafka_partition, kafka_offset
        ) AS copy
    FROM {database}.predictions
    WHERE kafka_unreadable = '' AND (source_topic, source_partition, intDiv(source_offset, 64)) IN
        (
            SELECT source_topic, source_partition, intDiv(source_offset, 64)
            FROM {database}.predictions
            WHERE kafka_unreadable = '' AND (source_topic, source_partition, intDiv(intDiv(source_offset, 64), 1024)) IN
            (
                SELECT source_topic, source_partition, intDiv(source_offset, 65536)
                FROM {database}.predictions
                WHERE kafka_unreadable = ''
                GROUP BY source_topic, source_partition, intDiv(source_offset, 65536)
                HAVING count() != groupBitmap(toUInt32(bitAnd(source_offset, 65535)))
            )
            GROUP BY source_topic, source_partition, intDiv(source_offset, 64)
            HAVING count() != bitCount(groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(source_offset, 63))))
        )
)
WHERE copy > 1
COMMENT 'Coordinates of predictions of an event that has one already: the first one counts';

CREATE OR REPLACE VIEW {database}.labelled_excess AS
SELECT kafka_topic, kafka_partition, kafka_offset, copy > 1 AS is_copy
FROM
(
    SELECT
        kafka_topic, kafka_partition, kafka_offset,
        row_number() OVER (
            PARTITION BY source_topic, source_partition, source_offset, kind ORDER BY version DESC, kafka_topic, kafka_partition, kafka_offset
        ) AS place,
        row_number() OVER (
            PARTITION BY source_topic, source_partition, source_offset, version ORDER BY kafka_topic, kafka_partition, kafka_offset
        ) AS copy
    FROM
    (
        SELECT kafka_topic, kafka_partition, kafka_offset, source_topic, source_partition, source_offset, version, if(length(arraySlice(scores, 1, 3)) = 2, version, 0) AS kind
        FROM {database}.labelled
        WHERE kafka_unreadable = '' AND (source_topic, source_partition, intDiv(source_offset, 64)) IN
        (
            SELECT source_topic, source_partition, bucket
            FROM
            (
                SELECT source_topic, source_partition, intDiv(source_offset, 64) AS bucket, if(length(arraySlice(scores, 1, 3)) = 2, version, 0) AS kind
                FROM {database}.labelled
                WHERE kafka_unreadable = '' AND (source_topic, source_partition, intDiv(intDiv(source_offset, 64), 1024)) IN
                (
                    SELECT source_topic, source_partition, large
                    FROM
                    (
                        SELECT source_topic, source_partition, intDiv(source_offset, 65536) AS large, if(length(arraySlice(scores, 1, 3)) = 2, version, 0) AS kind
                        FROM {database}.labelled
                        WHERE kafka_unreadable = ''
                        GROUP BY source_topic, source_partition, large, kind
                        HAVING count() != groupBitmap(toUInt32(bitAnd(source_offset, 65535)))
                    )
                )
                GROUP BY source_topic, source_partition, bucket, kind
                HAVING count() != bitCount(groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(source_offset, 63))))
            )
        )
    )
)
WHERE place > 1
COMMENT 'Coordinates of labelled rows that do not count: copies, and, of models of other than two labels, those that were corrected since';

CREATE OR REPLACE VIEW {database}.labelled_by_day AS
SELECT
    day, model, model_version, status, label, predicted, is_binary, is_positive, is_answered, bin,
    sum(counted) AS answers, sum(of_confidence) AS sum_confidence, sum(of_brier) AS sum_brier,
    sum(of_log_loss) AS sum_log_loss, sum(of_absolute) AS sum_absolute, sum(of_squared) AS sum_squared
FROM
(
    SELECT
        c.day AS day, c.model AS model, c.model_version AS model_version,
        multiIf(sign = 1, c.status, c.version = 2, 'labelled', 'corrected') AS status,
        multiIf(sign = 1, c.label, c.label = c.predicted, arrayFirst(x -> x != c.label, known.labels), c.predicted) AS label,
        c.predicted AS predicted, c.is_binary AS is_binary, c.is_positive AS is_positive, c.is_answered AS is_answered, c.bin AS bin,
        sign * c.answers AS counted, sign * c.sum_confidence AS of_confidence,
        if(sign = 1, c.sum_brier, -c.sum_other_brier) AS of_brier,
        if(sign = 1, c.sum_log_loss, -c.sum_other_log_loss) AS of_log_loss,
        sign * c.sum_absolute AS of_absolute, sign * c.sum_squared AS of_squared
    FROM
    (
        SELECT *, arrayJoin(if(version > 1 AND is_binary, [1, -1], [1])) AS sign
        FROM {database}.labelled_counts
    ) AS c
    LEFT JOIN
    (
        SELECT model, model_version, groupUniqArray(label) AS labels
        FROM
        (
            SELECT model, model_version, label
            FROM {database}.labelled
            WHERE kafka_unreadable = ''
            GROUP BY model, model_version, label
        )
        GROUP BY model, model_version
    ) AS known ON c.model = known.model AND c.model_version = known.model_version
)
GROUP BY day, model, model_version, status, label, predicted, is_binary, is_positive, is_answered, bin
HAVING answers > 0
COMMENT 'Counts and sums of labelled_now, from which performance, calibration and value are made';

ALTER TABLE {database}.labelled_by_day
    COMMENT COLUMN IF EXISTS day 'Of the event, by its own clock',
    COMMENT COLUMN IF EXISTS model 'Name of the bundle that predicted',
    COMMENT COLUMN IF EXISTS model_version 'Its version',
    COMMENT COLUMN IF EXISTS status 'labelled, corrected or never_labelled',
    COMMENT COLUMN IF EXISTS label 'The true label',
    COMMENT COLUMN IF EXISTS predicted 'The predicted label',
    COMMENT COLUMN IF EXISTS is_binary 'Whether the model has two labels',
    COMMENT COLUMN IF EXISTS is_positive 'Whether the score is the predicted label''s probability',
    COMMENT COLUMN IF EXISTS is_answered 'Whether there is a score',
    COMMENT COLUMN IF EXISTS bin 'Twentieth of confidence, from 0',
    COMMENT COLUMN IF EXISTS answers 'Predictions, the newest version of each',
    COMMENT COLUMN IF EXISTS sum_confidence 'Of their confidences',
    COMMENT COLUMN IF EXISTS sum_brier 'Of their squared errors of probability; two labels only',
    COMMENT COLUMN IF EXISTS sum_log_loss 'Of their losses in nats; two labels only',
    COMMENT COLUMN IF EXISTS sum_absolute 'Of their absolute errors; regression',
    COMMENT COLUMN IF EXISTS sum_squared 'Of their squared errors; regression'
