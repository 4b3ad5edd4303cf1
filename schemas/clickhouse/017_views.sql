-- What an analyst starts from. None of it changes when a record comes twice: predictions and labelled rows
-- that are there more often than once are found by the projection known_offsets (64 events hold as many rows
-- as bits, or one of them came again) and their share is taken off again.
-- The counts of all other rows come from the projections, whatever their number.
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
            WHERE kafka_unreadable = ''
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
                WHERE kafka_unreadable = ''
                GROUP BY source_topic, source_partition, bucket, kind
                HAVING count() != bitCount(groupBitOr(bitShiftLeft(toUInt64(1), bitAnd(source_offset, 63))))
            )
        )
    )
)
WHERE place > 1
COMMENT 'Coordinates of labelled rows that do not count: copies, and, of models of other than two labels, those that were corrected since';

CREATE OR REPLACE VIEW {database}.predictions_once AS
SELECT * FROM {database}.predictions
WHERE kafka_unreadable = '' AND (kafka_topic, kafka_partition, kafka_offset) NOT IN (SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.predictions_excess)
COMMENT 'Every readable prediction, one for each event';

CREATE OR REPLACE VIEW {database}.labelled_now AS
SELECT * FROM {database}.labelled
WHERE kafka_unreadable = '' AND (kafka_topic, kafka_partition, kafka_offset) NOT IN (SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.labelled_excess)
    AND (source_topic, source_partition, source_offset, version) NOT IN
    (
        SELECT source_topic, source_partition, source_offset, version - 1
        FROM {database}.labelled
        WHERE version > 1 AND kafka_unreadable = ''
    )
COMMENT 'Every prediction with its outcome as it is known now: the newest version of each';

CREATE OR REPLACE VIEW {database}.predictions_by_day AS
SELECT day, model, model_version, answered_by, in_budget, bin, sum(part_rows) AS answers
FROM
(
    SELECT
        toDate32(published_at) AS day, model, model_version, answered_by, in_budget,
        toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at), 1)))) AS bin,
        toInt64(count()) AS part_rows
    FROM {database}.predictions
    WHERE kafka_unreadable = ''
    GROUP BY day, model, model_version, answered_by, in_budget, bin
    UNION ALL
    SELECT
        toDate32(published_at) AS day, model, model_version, answered_by, in_budget,
        toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(scored_at) - toUnixTimestamp64Micro(published_at), 1)))) AS bin,
        -toInt64(count()) AS part_rows
    FROM {database}.predictions
    WHERE kafka_unreadable = '' AND (kafka_topic, kafka_partition, kafka_offset) IN (SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.predictions_excess)
    GROUP BY day, model, model_version, answered_by, in_budget, bin
)
GROUP BY day, model, model_version, answered_by, in_budget, bin
HAVING answers > 0
COMMENT 'Counts of predictions, one for each event, from which latency and data_quality are made';

CREATE OR REPLACE VIEW {database}.labelled_counts AS
SELECT
    day, model, model_version, status, version, label, predicted, is_binary, is_positive, is_answered, bin,
    sum(part_rows) AS answers, sum(part_confidence) AS sum_confidence, sum(part_brier) AS sum_brier,
    sum(part_log_loss) AS sum_log_loss, sum(part_other_brier) AS sum_other_brier,
    sum(part_other_log_loss) AS sum_other_log_loss, sum(part_absolute) AS sum_absolute, sum(part_squared) AS sum_squared
FROM
(
    SELECT
        toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)) AS day, model, model_version, status, version, label, predicted,
        length(arraySlice(scores, 1, 3)) = 2 AS is_binary, ifNull(confidence = score, false) AS is_positive,
        isFinite(ifNull(score, nan)) AS is_answered,
        toUInt8(least(floor(20 * ifNotFinite(ifNull(confidence, 0), 0)), 19)) AS bin,
        toInt64(count()) AS part_rows,
        sumIf(confidence, isFinite(ifNull(confidence, nan))) AS part_confidence,
        sumIf(pow(1 - if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_brier,
        sumIf(-log(greatest(if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_log_loss,
        sumIf(pow(if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_other_brier,
        sumIf(-log(greatest(1 - if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_other_log_loss,
        sumIf(abs(value - score), isFinite(ifNull(score, nan))) AS part_absolute,
        sumIf(pow(value - score, 2), isFinite(ifNull(score, nan))) AS part_squared
    FROM {database}.labelled
    WHERE kafka_unreadable = ''
    GROUP BY day, model, model_version, status, version, label, predicted, is_binary, is_positive, is_answered, bin
    UNION ALL
    SELECT
        toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)) AS day, model, model_version, status, version, label, predicted,
        length(arraySlice(scores, 1, 3)) = 2 AS is_binary, ifNull(confidence = score, false) AS is_positive,
        isFinite(ifNull(score, nan)) AS is_answered,
        toUInt8(least(floor(20 * ifNotFinite(ifNull(confidence, 0), 0)), 19)) AS bin,
        -toInt64(count()) AS part_rows,
        -sumIf(confidence, isFinite(ifNull(confidence, nan))) AS part_confidence,
        -sumIf(pow(1 - if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_brier,
        -sumIf(-log(greatest(if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_log_loss,
        -sumIf(pow(if(label = predicted, confidence, 1 - confidence), 2), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_other_brier,
        -sumIf(-log(greatest(1 - if(label = predicted, confidence, 1 - confidence), 1e-15)), length(arraySlice(scores, 1, 3)) = 2 AND isFinite(ifNull(confidence, nan))) AS part_other_log_loss,
        -sumIf(abs(value - score), isFinite(ifNull(score, nan))) AS part_absolute,
        -sumIf(pow(value - score, 2), isFinite(ifNull(score, nan))) AS part_squared
    FROM {database}.labelled
    WHERE kafka_unreadable = '' AND (kafka_topic, kafka_partition, kafka_offset) IN (SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.labelled_excess)
    GROUP BY day, model, model_version, status, version, label, predicted, is_binary, is_positive, is_answered, bin
)
GROUP BY day, model, model_version, status, version, label, predicted, is_binary, is_positive, is_answered, bin
HAVING answers > 0
COMMENT 'Counts and sums of labelled, each row once, from which labelled_by_day is made';

-- A correction of two labels takes back the other label, which its model has shown elsewhere.
CREATE OR REPLACE VIEW {database}.labelled_by_day AS
SELECT
    day, model, model_version, status, label, predicted, is_binary, is_positive, is_answered, bin,
    sum(counted) AS answers, sum(of_confidence) AS sum_confidence, sum(of_brier) AS sum_brier,
    sum(of_log_loss) AS sum_log_loss, sum(of_absolute) AS sum_absolute, sum(of_squared) AS sum_squared
FROM
(
    SELECT
        day, model, model_version, status, label, predicted, is_binary, is_positive, is_answered, bin,
        answers AS counted, sum_confidence AS of_confidence, sum_brier AS of_brier, sum_log_loss AS of_log_loss,
        sum_absolute AS of_absolute, sum_squared AS of_squared
    FROM {database}.labelled_counts
    UNION ALL
    SELECT
        c.day, c.model, c.model_version, if(c.version = 2, 'labelled', 'corrected'),
        if(c.label = c.predicted, arrayFirst(x -> x != c.label, known.labels), c.predicted), c.predicted,
        c.is_binary, c.is_positive, c.is_answered, c.bin,
        -c.answers, -c.sum_confidence, -c.sum_other_brier, -c.sum_other_log_loss, -c.sum_absolute, -c.sum_squared
    FROM {database}.labelled_counts AS c
    INNER JOIN
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
    WHERE c.version > 1 AND c.is_binary
)
GROUP BY day, model, model_version, status, label, predicted, is_binary, is_positive, is_answered, bin
HAVING answers > 0
COMMENT 'Counts and sums of labelled_now, from which performance, calibration and value are made';

CREATE OR REPLACE VIEW {database}.performance_by_version_and_day AS
SELECT
    day, model, model_version,
    sumIf(answers, status != 'never_labelled') AS labels,
    sumIf(answers, status = 'never_labelled') AS never_labelled,
    sumIf(answers, label IS NOT NULL AND predicted IS NULL) AS abstained,
    sumIf(answers, label = predicted) / nullIf(sumIf(answers, label IS NOT NULL AND predicted IS NOT NULL), 0) AS accuracy,
    sumIf(answers, is_binary AND is_positive AND label = predicted)
        / nullIf(sumIf(answers, is_binary AND is_positive AND label IS NOT NULL), 0) AS precision,
    sumIf(answers, is_binary AND is_positive AND label = predicted)
        / nullIf(sumIf(answers, is_binary AND predicted IS NOT NULL AND (is_positive = (label = predicted))), 0) AS recall,
    sumIf(sum_brier, is_binary AND label IS NOT NULL) / nullIf(sumIf(answers, is_binary AND label IS NOT NULL AND predicted IS NOT NULL), 0) AS brier,
    sumIf(sum_log_loss, is_binary AND label IS NOT NULL) / nullIf(sumIf(answers, is_binary AND label IS NOT NULL AND predicted IS NOT NULL), 0) AS log_loss,
    sumIf(sum_absolute, status != 'never_labelled' AND label IS NULL)
        / nullIf(sumIf(answers, status != 'never_labelled' AND label IS NULL AND is_answered), 0) AS mean_absolute_error,
    sqrt(sumIf(sum_squared, status != 'never_labelled' AND label IS NULL)
        / nullIf(sumIf(answers, status != 'never_labelled' AND label IS NULL AND is_answered), 0)) AS root_mean_squared_error
FROM {database}.labelled_by_day
GROUP BY day, model, model_version
ORDER BY day, model, model_version
COMMENT 'How right each model version was on each day, by the outcomes known now';

CREATE OR REPLACE VIEW {database}.calibration AS
SELECT
    model, model_version, bin / 20 AS confidence_from, (bin + 1) / 20 AS confidence_to,
    sum(answers) AS answers_in_bin,
    sum(sum_confidence) / sum(answers) AS mean_confidence,
    sumIf(answers, label = predicted) / sum(answers) AS accuracy,
    mean_confidence - accuracy AS overconfidence
FROM {database}.labelled_by_day
WHERE label IS NOT NULL AND predicted IS NOT NULL
GROUP BY model, model_version, bin
ORDER BY model, model_version, bin
COMMENT 'Whether a confidence of p is right in p of all cases: one row for each twentieth of confidence';

CREATE OR REPLACE VIEW {database}.latency AS
SELECT
    day, model, model_version,
    sum(answers) AS answered,
    sumIf(answers, NOT in_budget) AS late,
    pow(2, (quantileExactWeighted(0.5)(bin, toUInt64(answers)) + 0.5) / 16) / 1000 AS p50_ms,
    pow(2, (quantileExactWeighted(0.95)(bin, toUInt64(answers)) + 0.5) / 16) / 1000 AS p95_ms,
    pow(2, (quantileExactWeighted(0.99)(bin, toUInt64(answers)) + 0.5) / 16) / 1000 AS p99_ms,
    pow(2, (quantileExactWeighted(0.999)(bin, toUInt64(answers)) + 0.5) / 16) / 1000 AS p999_ms
FROM {database}.predictions_by_day
GROUP BY day, model, model_version
ORDER BY day, model, model_version
COMMENT 'Milliseconds from published to scored, each right to 2.2 %';

CREATE OR REPLACE VIEW {database}.label_delay AS
SELECT
    day, model, model_version,
    sumIf(answers, status != 'never_labelled') AS labels,
    sumIf(answers, status = 'never_labelled') AS never_labelled,
    nullIf(pow(2, (quantileExactWeightedIf(0.5)(bin, toUInt64(answers), bin >= 0) + 0.5) / 16) / 1000000, 0) AS p50_s,
    nullIf(pow(2, (quantileExactWeightedIf(0.95)(bin, toUInt64(answers), bin >= 0) + 0.5) / 16) / 1000000, 0) AS p95_s,
    nullIf(pow(2, (quantileExactWeightedIf(0.99)(bin, toUInt64(answers), bin >= 0) + 0.5) / 16) / 1000000, 0) AS p99_s
FROM
(
    SELECT day, model, model_version, status, bin, sum(part_rows) AS answers
    FROM
    (
    SELECT
        toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)) AS day, model, model_version, status,
        ifNull(toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(known_at) - toUnixTimestamp64Micro(scored_at), 1)))), -1) AS bin,
        toInt64(count()) AS part_rows
    FROM {database}.labelled
    WHERE kafka_unreadable = '' AND version = 1
    GROUP BY day, model, model_version, status, bin
        UNION ALL
    SELECT
        toDate32(if(event_time > toDateTime64(0, 6, 'UTC'), event_time, published_at)) AS day, model, model_version, status,
        ifNull(toInt16(floor(16 * log2(greatest(toUnixTimestamp64Micro(known_at) - toUnixTimestamp64Micro(scored_at), 1)))), -1) AS bin,
        -toInt64(count()) AS part_rows
    FROM {database}.labelled
    WHERE kafka_unreadable = '' AND version = 1 AND (kafka_topic, kafka_partition, kafka_offset) IN (SELECT kafka_topic, kafka_partition, kafka_offset FROM {database}.labelled_excess WHERE is_copy)
    GROUP BY day, model, model_version, status, bin
    )
    GROUP BY day, model, model_version, status, bin
    HAVING answers > 0
)
GROUP BY day, model, model_version
ORDER BY day, model, model_version
COMMENT 'Seconds from the score to the first outcome, each right to 2.2 %; corrections do not count';

CREATE OR REPLACE VIEW {database}.drift_by_feature AS
SELECT
    toDate32(event_time) AS day, feature, slice, detector, signal, measure,
    uniqExact(id) AS readings,
    max(value) AS highest,
    argMax(value, (event_time, id)) AS newest,
    max(threshold) AS alarms_above,
    uniqExactIf(id, status = 'warning') AS warnings,
    uniqExactIf(id, status = 'alarm') AS alarms
FROM {database}.drift
WHERE kafka_unreadable = ''
GROUP BY day, feature, slice, detector, signal, measure
ORDER BY day, feature, slice, detector, signal, measure
COMMENT 'What each detector measured of each feature on each day';

CREATE OR REPLACE VIEW {database}.data_quality AS
SELECT
    day,
    sum(published_rows) AS published,
    sum(unreadable_rows) AS unreadable,
    sum(answered_rows) AS answered,
    sum(abstained_rows) AS abstained,
    sum(cheaper_rows) AS answered_cheaper,
    sum(late_rows) AS late,
    sum(refused_rows) AS refused,
    sum(refused_again_rows) AS refused_again,
    refused / nullIf(answered + refused, 0) AS refused_share
FROM
(
    SELECT
        day, sum(rows) AS published_rows, sumIf(rows, kafka_unreadable != '') AS unreadable_rows,
        0 AS answered_rows, 0 AS abstained_rows, 0 AS cheaper_rows, 0 AS late_rows, 0 AS refused_rows,
        0 AS refused_again_rows
    FROM
    (
        SELECT toDate32(kafka_time) AS day, kafka_unreadable, toInt64(count()) AS rows
        FROM {database}.events
        GROUP BY day, kafka_unreadable
    )
    GROUP BY day
    UNION ALL
    SELECT
        day, 0, 0, sum(answers), sumIf(answers, answered_by = 'abstained'),
        sumIf(answers, answered_by = 'cheaper'), sumIf(answers, NOT in_budget), 0, 0
    FROM {database}.predictions_by_day
    GROUP BY day
    UNION ALL
    SELECT
        toDate32(refused_at) AS day, 0, 0, 0, 0, 0, 0,
        toInt64(uniqExactIf((source_topic, source_partition, source_offset), attempt = 1)),
        toInt64(uniqExactIf((source_topic, source_partition, source_offset), attempt > 1))
    FROM {database}.dead_letters
    WHERE kafka_unreadable = ''
    GROUP BY day
)
GROUP BY day
ORDER BY day
COMMENT 'What became of the events of each day'
