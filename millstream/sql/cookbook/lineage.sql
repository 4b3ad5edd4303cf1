-- title: Lineage of an answer
-- question: What was answered to an event, by which model and release, and was it right?
-- parameter: event_id String: the event's id
SELECT
    s.event_id AS event_id, s.source_partition AS source_partition, s.source_offset AS source_offset, s.published_at AS published_at, s.scored_at AS scored_at,
    s.model AS model, s.model_version AS model_version, s.model_digest AS model_digest, s.answered_by AS answered_by, t.number AS release, t.reason AS released_because,
    s.predicted AS predicted, s.confidence AS confidence, s.outcome AS outcome, s.label AS label, s.known_at AS known_at, s.is_correct AS is_correct
FROM (SELECT * FROM scored_events WHERE event_id = {event_id:String}) AS s
ASOF LEFT JOIN model_timeline AS t ON s.source_partition = t.source_partition AND s.source_offset >= t.first_offset
ORDER BY published_at
