-- title: Retrainings
-- question: What set each retraining off, how long did it take, and what came of it?
SELECT number, argMin(trigger, at) AS trigger, argMin(reason, at) AS began_because, min(at) AS began, max(at) AS ended, dateDiff('second', began, ended) AS seconds, anyIf(outcome, status = 'over') AS outcome, argMax(reason, at) AS ended_because
FROM retraining
WHERE kafka_unreadable = ''
GROUP BY number, attempt
ORDER BY number
