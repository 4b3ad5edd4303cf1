-- title: Waiting for labels
-- question: For how many answers of each day is the truth not known yet?
-- parameter: since DateTime = 1970-01-01 00:00:00: events published since, in UTC
SELECT p.day AS day, p.answers AS answers, l.labels AS labels, l.never AS never_labelled, answers - labels - never_labelled AS waiting
FROM (SELECT toDate32(published_at) AS day, toInt64(count()) AS answers FROM predictions_once WHERE published_at >= {since:DateTime} GROUP BY day) AS p
LEFT JOIN (
    SELECT toDate32(published_at) AS day, toInt64(countIf(status != 'never_labelled')) AS labels, toInt64(countIf(status = 'never_labelled')) AS never
    FROM labelled_now WHERE published_at >= {since:DateTime} GROUP BY day
) AS l ON p.day = l.day
ORDER BY day
