"""What a model answered the stream's events with, out of ClickHouse: students learn it.

Predictions are kept with their scores and the digest of the model that gave them, so the rows are
those that this very model saw in production and the answers those that it gave there. The query's
text holds its bounds, as in consumers/training_rows.py.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa

from consumers.performance import EVENT, PLACE, happened_column
from consumers.training_rows import (
    Wanted,
    feature_fields,
    features_of,
    in_us,
    ints,
    marks_of,
    ranges_of,
    require_features,
    up_to,
)
from consumers.warehouse import Warehouse, require_tables
from millstream.errors import InvariantBroken
from millstream.models.bundle import Bundle
from millstream.models.lineage import Lineage, Query
from millstream.optimise.variants import Logged
from millstream.performance.metrics import Floats
from millstream.stream import Stream
from millstream.training.fingerprint import hash_of_rows
from millstream.training.rows import CannotTrain, Rows, Task

ANSWERED_BY: Final = "('full', 'cached')"
"""Marks of the prediction contract under which the scores are the model's own."""


def read_logged(stream: Stream, warehouse: Warehouse, own: Bundle, wanted: Wanted) -> Logged:
    """The events that `own` answered, with the scores that were published, by event time.

    wanted: `mature_share` does not count, since no label is needed. Of an event that was answered
    twice the first answer is taken; what its overload ladder's cheaper model answered is left out.
    Raises OperatorNeeded where a migration is missing, CannotTrain where there are no such rows or
    a feature is not kept, DependencyUnavailable.
    """
    require_tables(warehouse, stream)
    require_features(stream)
    said, events = (marks_of(warehouse, stream, table) for table in ("predictions", "events"))
    text = _query(stream, own, (said, events), wanted)
    table = warehouse.table(text)
    if not table.num_rows:
        raise CannotTrain(
            f"ClickHouse has no answers of {own.name} {own.version} ({own.digest}) in that time",
            "Let it score and `millstream sink` run, widen --since and --until, or give ROWS",
        )
    scores = _scores(table, own)
    task = Task.of_card(own.card)
    rows = Rows(
        task,
        features_of(stream, table),
        np.array(table.column("label").to_pylist(), dtype=object) if task.labels else scores[:, 0],
        ints(table, "happened"),
        ids=table.column("id").to_pylist(),
    )
    found = hashlib.sha256(hash_of_rows(rows).encode() + scores.tobytes()).hexdigest()
    return Logged(
        rows,
        scores,
        Lineage(
            offsets=ranges_of(table, ("predicted", "source")),
            query=Query(text=text, result_hash=f"sha256:{found}", rows=len(rows)),
        ),
    )


def _query(
    stream: Stream, own: Bundle, bounds: tuple[dict[int, int], dict[int, int]], wanted: Wanted
) -> str:
    """All that decides which rows are taken is in this text. bounds: of predictions, of events."""
    name, time = stream.name, f"toUnixTimestamp64Micro({happened_column(stream)})"
    fields, shown = feature_fields(stream)
    there = f"AND {up_to(bounds[1])} " if bounds[1] else ""
    since, until = in_us(wanted.since), in_us(wanted.until)
    within = f" AND {time} >= {since}" if since is not None else ""
    within += f" AND {time} < {until}" if until is not None else ""
    return (
        f"WITH said AS (SELECT * FROM (SELECT {PLACE}, kafka_topic AS predicted_topic, "
        "kafka_partition AS predicted_partition, kafka_offset AS predicted_offset, "
        f"event_id AS id, {time} AS happened, CAST(label, 'Nullable(String)') AS label, scores "
        f"FROM {name}.predictions WHERE kafka_unreadable = '' AND model_digest = '{own.digest}' "
        f"AND model_version = '{own.version}' AND answered_by IN {ANSWERED_BY} "
        f"AND {up_to(bounds[0])}{within} "
        f"ORDER BY {PLACE}, predicted_partition, predicted_offset LIMIT 1 BY {PLACE}) "
        f"ORDER BY happened DESC, {PLACE} LIMIT {wanted.rows_max}) "
        "SELECT s.id AS id, s.happened AS happened, s.label AS label, s.scores AS scores, "
        "s.predicted_topic AS predicted_topic, s.predicted_partition AS predicted_partition, "
        "s.predicted_offset AS predicted_offset, s.source_topic AS source_topic, "
        "s.source_partition AS source_partition, s.source_offset AS source_offset"
        f"{shown} FROM said AS s INNER JOIN (SELECT {EVENT}{fields} FROM {name}.events WHERE "
        f"kafka_unreadable = '' {there}AND (kafka_topic, kafka_partition, kafka_offset) IN "
        f"(SELECT {PLACE} FROM said)) AS e USING ({PLACE}) "
        "ORDER BY happened, source_topic, source_partition, source_offset"
    )


def _scores(table: pa.Table, own: Bundle) -> Floats:
    """[n, k] in the order of the card's labels."""
    lists = table.column("scores").combine_chunks()
    flat, k = np.asarray(lists.flatten(), np.float64), own.card.score_columns
    widths = np.diff(np.asarray(lists.offsets))
    if len(flat) != k * table.num_rows or (widths != k).any():
        raise InvariantBroken(
            f"predictions of {own.name} {own.version} have not {k} scores each",
            "Compare the bundle's labels with those of the model that answered",
        )
    return flat.reshape(-1, k)
