"""Predictions and outcomes for the tests of the join, as the values that Kafka would hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from millstream.columnar import Encoder, arrow_schema, frame, make_decoder
from millstream.contracts import contract
from millstream.errors import RecordRefused, Stage
from millstream.matching import Joined, Matcher
from millstream.records import Records

PREDICTION, OUTCOME, LABELLED, CHUNK = 1, 2, 3, 4
_SCHEMAS = {PREDICTION: "prediction", OUTCOME: "outcome"}
_ENCODERS: dict[int, Encoder] = {}
_LABELLED = make_decoder(contract("labelled").text)


def schema_of(schema_id: int) -> str:
    """The registry of these tests."""
    if schema_id not in _SCHEMAS:
        raise RecordRefused(Stage.FRAME, "unknown_schema_id", "unknown")
    return contract(_SCHEMAS[schema_id], 1).text


def _encode(schema_id: int, columns: dict[str, list[object]]) -> list[bytes]:
    text = schema_of(schema_id)
    if schema_id not in _ENCODERS:
        _ENCODERS[schema_id] = Encoder(text, frame(schema_id))
    schema = arrow_schema(text)
    arrays = []
    for field in schema:
        stored = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        arrays.append(pa.array(columns[field.name], stored).cast(field.type))
    return _ENCODERS[schema_id].encode(pa.RecordBatch.from_arrays(arrays, schema=schema))


def prediction_values(ids: Sequence[str], partition: int = 0, first: int = 0) -> list[bytes]:
    """Predictions of the label "1" for events of these ids, at source offsets from `first`."""
    count = len(ids)
    constant: dict[str, object] = {
        "event_time": 1_704_067_200_000_000,
        "published_at": 1_704_067_200_100_000,
        "scored_at": 1_704_067_200_200_000,
        "in_budget": True,
        "score": 0.75,
        "scores": [0.25, 0.75],
        "label": "1",
        "confidence": 0.75,
        "model": "m",
        "model_version": "3",
        "model_digest": "sha256:" + "0f" * 32,
        "source_topic": "s.events",
        "source_partition": partition,
        "event_schema_id": 1,
        "answered_by": "full",
    }
    columns: dict[str, list[object]] = {name: [value] * count for name, value in constant.items()}
    columns["event_id"] = list(ids)
    columns["key"] = [f"k{event_id}" for event_id in ids]
    columns["source_offset"] = list(range(first, first + count))
    return _encode(PREDICTION, columns)


def outcome_values(
    ids: Sequence[str],
    labels: Sequence[str | None],
    known: Sequence[int],
    values: Sequence[float | None] | None = None,
) -> list[bytes]:
    """Outcomes of these ids; known: microseconds."""
    columns: dict[str, list[object]] = {
        "event_id": list(ids),
        "key": [f"k{event_id}" for event_id in ids],
        "label": list(labels),
        "value": list(values) if values is not None else [None] * len(ids),
        "known_at": list(known),
    }
    return _encode(OUTCOME, columns)


def records(
    topic: str,
    values: Sequence[bytes | None],
    times: Sequence[int],
    first: int = 0,
    partition: int = 0,
) -> Records:
    """As if consumed from one partition, offsets from `first`; times: microseconds."""
    count = len(values)
    return Records(
        topic,
        list(values),
        [b"k"] * count,
        np.full(count, partition, np.int32),
        np.arange(first, first + count, dtype=np.int64),
        np.array(times, np.int64),
        {},
    )


@dataclass(frozen=True, slots=True)
class Label:
    """What a test looks at in a labelled record."""

    id: str
    event_id: str
    version: int
    status: str
    label: str | None
    known_at: int | None


def read(joined: Joined) -> list[Label]:
    """The labelled records of a batch."""
    columns = _LABELLED.decode(joined.values, 5).columns
    times = columns.column("known_at").cast(pa.int64()).to_pylist()
    names = ("id", "event_id", "version", "status", "label")
    rows = zip(*(columns.column(name).to_pylist() for name in names), times, strict=True)
    return [Label(*row) for row in rows]


def matcher(wait_us: int = 100, held_max: int = 1_000_000, partitions: int = 1) -> Matcher:
    """One that knows nothing yet."""
    made = Matcher("binary", wait_us, schema_of, LABELLED, CHUNK, held_max)
    for partition in range(partitions):
        made.restore(partition, [])
    return made
