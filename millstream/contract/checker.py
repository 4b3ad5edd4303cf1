"""What the scorer would make of records, asked before they are published.

The same decoder as the scorer's (`millstream.decoding`), so the same verdicts; where a bundle is at
hand its model is asked too, otherwise features are judged as by a model that takes no null and no
NaN, which is what a bundle says unless it is told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.contract.partition import partition_of
from millstream.decoding import EventDecoder, SchemaOf
from millstream.errors import RecordRefused, Refusal, Stage
from millstream.models.bundle import Bundle
from millstream.models.card import Card, Feature, FeatureType, Input
from millstream.models.features import FeatureReader
from millstream.models.session import Session
from millstream.records import Records
from millstream.stream import Stream

_ELEMENTS: Final[dict[FeatureType, Any]] = {
    "number": np.dtype(np.float64),
    "category": np.dtype(object),
    "boolean": np.dtype(np.bool_),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one record: refusal None is scored, and the rest is of its event.

    key: the Kafka key that it must have. partition: where such a key lands. score: where a bundle
    was asked.
    """

    refusal: Refusal | None
    event_id: str | None = None
    key: bytes | None = None
    partition: int | None = None
    score: float | None = None


def own_schema(stream: Stream, schema_id: int | None = None) -> SchemaOf:
    """A registry that has the stream's own schema alone: under this id, or under every one."""

    def schema_of(asked: int) -> str:
        if schema_id is not None and asked != schema_id:
            reason = f"schema id {asked} is not in the registry"
            raise RecordRefused(Stage.FRAME, "unknown_schema_id", reason)
        return stream.schema_of_event.text

    return schema_of


class Checker:
    """schema_of: how to find the schema of an id. bundle: the model to ask, if any.

    Raises BundleInvalid where the bundle's model cannot be opened.
    """

    def __init__(self, stream: Stream, schema_of: SchemaOf, bundle: Bundle | None = None) -> None:
        self._stream = stream
        self._decoder = EventDecoder(stream, schema_of)
        self._session = Session(bundle) if bundle is not None else None
        self._features = None if bundle is not None else _strict_reader(stream)

    def check(self, values: Sequence[bytes | None]) -> list[Verdict]:
        """A verdict for each Kafka value, in order.

        Raises DependencyUnavailable where schema_of does.
        """
        count = len(values)
        nowhere = np.zeros(count, np.int32)
        records = Records(
            self._stream.topic("events"),
            list(values),
            [None] * count,
            nowhere,
            np.arange(count),
            np.full(count, -1),
            {},
        )
        decoded = self._decoder.read(records)
        refusals = list(decoded.refusals)
        scores: dict[int, float] = {}
        if self._session is not None:
            scored = self._session.score(decoded.columns)
            found = scored.refusals
            scores = dict(
                zip(decoded.rows[scored.rows].tolist(), scored.score.tolist(), strict=True)
            )
        else:
            assert self._features is not None
            found = self._features.read(decoded.columns).refusals
        refusals += [replace(each, row=int(decoded.rows[each.row])) for each in found]
        verdicts = {each.row: Verdict(each) for each in refusals}
        for row, (event_id, key) in zip(
            decoded.rows.tolist(), self._named(decoded.columns), strict=True
        ):
            if row not in verdicts:
                partition = partition_of(key, self._stream.serving.partitions)
                verdicts[row] = Verdict(None, event_id, key, partition, scores.get(row))
        return [verdicts[row] for row in range(count)]

    def _named(self, columns: pa.RecordBatch) -> list[tuple[str, bytes]]:
        """Id and Kafka key of each row."""
        ids = pc.cast(columns.column(self._stream.event.id), pa.string()).to_pylist()
        keys = pc.cast(columns.column(self._stream.event.key), pa.string()).to_pylist()
        return [(one, key.encode()) for one, key in zip(ids, keys, strict=True)]


def _strict_reader(stream: Stream) -> FeatureReader:
    """Features as a model declares them that takes nothing missing, in 64-bit numbers."""
    fields, categories = stream.schema_of_event.fields, stream.features.categories
    features: list[Feature] = []
    for name in stream.features.order:
        kind: FeatureType = "number"
        if name in categories:
            kind = "category"
        elif fields[name].type == "boolean":
            kind = "boolean"
        features.append(Feature(name=name, type=kind))
    card = Card.model_construct(features=tuple(features), input=Input(layout="columns"))
    return FeatureReader(card, {each.name: _ELEMENTS[each.type] for each in features})
