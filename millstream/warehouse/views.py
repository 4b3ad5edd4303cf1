"""What follows from stream.toml and is made anew at every `millstream migrate`: the views that name
event fields and costs, the comments of event columns, and how long tables keep their rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from millstream.contracts import topic_table
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns, quoted

PLACE = "source_topic, source_partition, source_offset"
_ANSWER = {
    "event_id": "The event's id",
    "key": "Its key",
    "event_time": "When it happened, by its own clock",
    "published_at": "Its Kafka timestamp; ask for a range of it",
    "scored_at": "When the model had answered",
    "latency_ms": "Milliseconds between the two",
    "score": "binary: probability of the positive label; multiclass: of the predicted one; "
    "regression: the value",
    "scores": "One for each label in the bundle's order; regression: the value alone",
    "predicted": "The predicted label; null for regression",
    "confidence": "Probability of the predicted label",
    "model": "Name of the bundle that answered",
    "model_version": "Its version",
    "model_digest": "sha256 of its ONNX file",
    "answered_by": "full, cheaper, cached or abstained",
    "in_budget": "Whether the latency budget was kept",
    "outcome": "waiting, labelled, corrected or never_labelled",
    "label": "The true label, as known now",
    "value": "The true value of a regression, as known now",
    "known_at": "When that became known",
    "label_version": "1 for the first outcome, one more for each correction; 0: none yet",
    "is_correct": "Whether the predicted label is the true one; null where either is not known",
    "source_topic": "The event's topic",
    "source_partition": "Its partition",
    "source_offset": "Its offset",
    "event_schema_id": "Registry id of its schema",
}
"""Columns of scored_events that are not event fields, and what they are."""
_VALUE = {
    "model": "Name of the bundle",
    "model_version": "Its version",
    "first_day": "Of its labelled decisions",
    "last_day": "Of its labelled decisions",
    "decisions": "Predicted labels whose outcome is known",
    "wrong": "Those that were not the true one",
    "false_positives": "Positive was said and was wrong; two labels only",
    "false_negatives": "Negative was said and was wrong; two labels only",
    "cost": "Of the wrong ones, at [costs] of stream.toml",
    "cost_per_thousand": "Of a thousand decisions",
    "cost_of_one_answer_for_all": "Of the cheaper constant answer; two labels, no matrix of costs",
    "value": "What was saved against it",
}
_TTL = re.compile(r"\bTTL toDateTime\(kafka_time\) \+ toIntervalDay\((\d+)\)")


def scored_names(stream: Stream) -> dict[str, str]:
    """Event field that is kept -> its column in `scored_events`: its own name, or event_NAME where
    that is taken."""
    fields = list(event_columns(stream))
    taken, names = {*_ANSWER, *fields}, {}
    for field in fields:
        name = field
        while name in _ANSWER or (name != field and name in taken):
            name = f"event_{name}"
        names[field] = name
        taken.add(name)
    return names


def views(stream: Stream) -> list[str]:
    """Statements that make the views of this stream's fields and costs; each may be repeated."""
    docs = _docs(stream)
    fields = {column: docs[field] for field, column in scored_names(stream).items()}
    return [
        *_scored_events(stream),
        _described(f"{stream.name}.scored_events", _ANSWER | fields),
        _value_by_version(stream),
        _described(f"{stream.name}.value_by_version", _VALUE),
    ]


def _described(view: str, about: Mapping[str, str]) -> str:
    """The statement that gives a view's columns their comments."""
    said = ", ".join(
        f"COMMENT COLUMN IF EXISTS `{name}` {quoted(text)}" for name, text in about.items()
    )
    return f"ALTER TABLE {view} {said}"


def _scored_events(stream: Stream) -> list[str]:
    """predictions_once with the event's fields and the newest outcome.

    The event's time of publication, and its id, are compared too: they follow from its place, and
    a condition on either then reaches all three tables' indexes through the join.
    """
    name, names, event = stream.name, scored_names(stream), stream.event
    has_id = event.id in event_columns(stream)
    keys = f"{PLACE}, published_at{', event_id' if has_id else ''}"
    kind = event_columns(stream).get(event.id)
    text = f"v.`{event.id}`" if kind == "Nullable(String)" else f"toString(v.`{event.id}`)"
    known_id = f"ifNull({text}, '')"
    # with their table: a name alone would be that of the statement's own column, where it has one
    own = "".join(f", v.`{field}` AS own_{i}" for i, field in enumerate(names))
    shown = "".join(f",\n    e.own_{i} AS `{column}`" for i, column in enumerate(names.values()))
    statements = [
        f"CREATE OR REPLACE VIEW {name}.scored_events AS\nSELECT\n"
        "    p.event_id AS event_id, p.key AS key, p.event_time AS event_time,\n"
        "    p.published_at AS published_at, p.scored_at AS scored_at,\n"
        "    (toUnixTimestamp64Micro(p.scored_at) - toUnixTimestamp64Micro(p.published_at)) / 1000 "
        "AS latency_ms,\n"
        "    p.score AS score, p.scores AS scores, p.label AS predicted, "
        "p.confidence AS confidence,\n"
        "    p.model AS model, p.model_version AS model_version, p.model_digest AS model_digest,\n"
        "    p.answered_by AS answered_by, p.in_budget AS in_budget,\n"
        "    if(ifNull(l.version, 0) = 0, 'waiting', l.status) AS outcome, l.label AS label,\n"
        "    l.value AS value, l.known_at AS known_at, l.version AS label_version,\n"
        "    p.label = l.label AS is_correct,\n"
        "    p.source_topic AS source_topic, p.source_partition AS source_partition,\n"
        f"    p.source_offset AS source_offset, p.event_schema_id AS event_schema_id{shown}\n"
        f"FROM {name}.predictions_once AS p\n"
        "LEFT JOIN\n(\n"
        "    SELECT v.kafka_topic AS source_topic, v.kafka_partition AS source_partition, "
        "v.kafka_offset AS source_offset, v.kafka_time AS published_at"
        f"{', ' + known_id + ' AS event_id' if has_id else ''}{own}\n"
        f"    FROM {name}.events AS v WHERE v.kafka_unreadable = ''\n) AS e USING ({keys})\n"
        "LEFT JOIN\n(\n"
        f"    SELECT {keys}, status, label, value, known_at, version\n"
        f"    FROM {name}.labelled_now\n) AS l USING ({keys})\n"
        "COMMENT 'Every event with what was answered and what turned out to be true; ask for a "
        "range of published_at, or for an event_id'"
    ]
    if kind == "Nullable(String)":  # ClickHouse looks through ifNull, not through toString
        statements.insert(
            0,
            f"ALTER TABLE {name}.events ADD INDEX IF NOT EXISTS by_event_id `{event.id}` "
            "TYPE bloom_filter(0.01) GRANULARITY 4",
        )
    return statements


def _value_by_version(stream: Stream) -> str:
    """What each version's wrong decisions cost, at [costs].

    Of two labels the positive one is the one whose probability is the score.
    """
    costs = stream.costs
    wrong = (
        f"if(is_positive, {costs.false_positive!r}, {costs.false_negative!r})"
        if not costs.matrix
        else _matrix(costs.matrix)
    )
    positives = "sumIf(answers, is_binary AND (is_positive = (label = predicted)))"
    negatives = "sumIf(answers, is_binary AND (is_positive != (label = predicted)))"
    cheaper = (
        f"least({positives} * {costs.false_negative!r}, {negatives} * {costs.false_positive!r})"
    )
    best = "NULL" if costs.matrix else f"if(max(is_binary), {cheaper}, NULL)"
    return (
        f"CREATE OR REPLACE VIEW {stream.name}.value_by_version AS\nSELECT\n"
        "    model, model_version, min(day) AS first_day, max(day) AS last_day,\n"
        "    sum(answers) AS decisions,\n"
        "    sumIf(answers, label != predicted) AS wrong,\n"
        "    sumIf(answers, is_binary AND is_positive AND label != predicted) AS false_positives,\n"
        "    sumIf(answers, is_binary AND NOT is_positive AND label != predicted) "
        "AS false_negatives,\n"
        f"    sumIf(answers * {wrong}, label != predicted) AS cost,\n"
        "    1000 * cost / nullIf(decisions, 0) AS cost_per_thousand,\n"
        f"    {best} AS cost_of_one_answer_for_all,\n"
        "    cost_of_one_answer_for_all - cost AS value\n"
        f"FROM {stream.name}.labelled_by_day\n"
        "WHERE label IS NOT NULL AND predicted IS NOT NULL\n"
        "GROUP BY model, model_version\nORDER BY model, model_version\n"
        "COMMENT 'What wrong decisions cost, at [costs] of stream.toml, and what was saved against "
        "the cheaper of the two constant answers'"
    )


def _matrix(matrix: Mapping[str, Mapping[str, float]]) -> str:
    """The cost of (label, predicted); what the matrix leaves out costs nothing."""
    cells = [(true, said, cost) for true, row in matrix.items() for said, cost in row.items()]
    whens = "".join(
        f"label = {quoted(true)} AND predicted = {quoted(said)}, {cost!r}, "
        for true, said, cost in cells
    )
    return f"multiIf({whens}0.0)"


def column_comments(stream: Stream, present: Mapping[str, str]) -> list[str]:
    """Statements that say of every event column what it is: the doc of its field, else its type.

    present: column of `events` -> its comment now.
    """
    docs = _docs(stream)
    wanted = {name: docs[name] for name in event_columns(stream)}
    return [
        f"ALTER TABLE {stream.name}.events COMMENT COLUMN IF EXISTS `{name}` {quoted(text)}"
        for name, text in wanted.items()
        if present.get(name) != text
    ]


def _docs(stream: Stream) -> dict[str, str]:
    """Event field -> what it is."""
    fields = json.loads(stream.schema_of_event.text)["fields"]
    return {field["name"]: _doc(field) for field in fields}


def _doc(field: Mapping[str, Any]) -> str:
    """What the producer's schema says of a field."""
    if field.get("doc"):
        return str(field["doc"])
    kind = field["type"] if isinstance(field["type"], str) else json.dumps(field["type"])
    return f"Field {field['name']} of the event, in Avro {kind}"


def keeping(stream: Stream, engines: Mapping[str, str]) -> list[str]:
    """Statements after which each table keeps its rows for as long as [warehouse] says.

    engines: table -> its engine and what follows, as in system.tables.engine_full. Only whole parts
    are deleted: a part whose rows go one by one would be written again, its projections too.
    """
    statements = []
    for topic in topic_table().values():
        if topic.table is None or topic.table not in engines:
            continue
        table, days = f"{stream.name}.{topic.table}", stream.warehouse.keep_days.get(topic.table)
        found = _TTL.search(engines[topic.table])
        now = int(found[1]) if found else None
        if days == now:
            continue
        if days is None:
            statements.append(f"ALTER TABLE {table} REMOVE TTL")
            continue
        statements += [
            f"ALTER TABLE {table} MODIFY SETTING ttl_only_drop_parts = 1, "
            "materialize_ttl_recalculate_only = 1",
            f"ALTER TABLE {table} MODIFY TTL toDateTime(kafka_time) + toIntervalDay({days})",
        ]
    return statements
