-- title: Decisions
-- question: Which models were compared, and what was decided by what evidence?
SELECT decided_at, verdict, champion_version, challenger_version, rows, round(difference, 5) AS difference, round(low, 5) AS low, round(high, 5) AS high, e_better, failed_gates, reason
FROM decisions_once
ORDER BY decided_at DESC
