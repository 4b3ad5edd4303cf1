"""Predictions and dead letters as the audit reads them: which event does each answer?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from consumers.verify.log import Chunk
from millstream.audit.offsets import Offsets
from millstream.columnar import FRAME_BYTES, Decoder, make_decoder, split_frames
from millstream.contracts import contract, dead_letter_headers
from millstream.errors import ContractMismatch, RecordRefused

SchemaOf = Callable[[int], str]
"""Schema id -> Avro schema. Raises RecordRefused where the registry has none."""
SOURCE: Final = ("source_topic", "source_partition", "source_offset")
ELSEWHERE: Final = -1
_NUMBERS: Final = {"source_partition", "source_offset", "attempt", "event_schema_id"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Which events the records of a chunk answer, in their order.

    own: the records' own offsets. partitions: of their events; ELSEWHERE if of another topic.
    offsets: of their events. unreadable: own offsets of records that do not say it.
    """

    own: Offsets
    partitions: Offsets
    offsets: Offsets
    unreadable: Offsets


class SourceReader(Protocol):
    """Reads the sources of one topic's records."""

    def read(self, chunk: Chunk) -> Sources: ...


class PredictionSources:
    """From the records' Avro bodies."""

    def __init__(self, schema_of: SchemaOf, events: str) -> None:
        self._predictions = Predictions(schema_of, set(SOURCE))
        self._events = events

    def read(self, chunk: Chunk) -> Sources:
        """As SourceReader says."""
        places, columns, bad = self._predictions.read(chunk.records)
        if not len(places):
            return Sources(places, places, places, chunk.offsets[bad])
        ours = pc.equal(columns["source_topic"], self._events).to_numpy()
        partitions = np.where(ours, columns["source_partition"].to_numpy(), ELSEWHERE)
        offsets = columns["source_offset"].to_numpy()
        return Sources(chunk.offsets[places], partitions, offsets, chunk.offsets[bad])


class LetterSources:
    """From the records' headers."""

    def __init__(self, events: str) -> None:
        self._events = events
        self._headers = {name: dead_letter_headers()[name] for name in SOURCE}

    def read(self, chunk: Chunk) -> Sources:
        """As SourceReader says."""
        read = [letter_fields(record, self._headers) for record in chunk.records]
        good = np.array([fields is not None for fields in read], np.bool_)
        letters = [fields for fields in read if fields is not None]
        ours = [fields["source_topic"] == self._events for fields in letters]
        partitions = np.array([fields["source_partition"] for fields in letters], np.int64)
        offsets = np.array([fields["source_offset"] for fields in letters], np.int64)
        named = np.where(np.array(ours, np.bool_), partitions, ELSEWHERE)
        return Sources(chunk.offsets[good], named, offsets, chunk.offsets[~good])


class Predictions:
    """Decodes predictions: their columns as lists, whole or only the fields that are asked for."""

    def __init__(self, schema_of: SchemaOf, fields: set[str] | None = None) -> None:
        schema = json.loads(contract("prediction").text)
        if fields is not None:
            schema["fields"] = [f for f in schema["fields"] if f["name"] in fields]
        self._reader = json.dumps(schema)
        self._schema_of = schema_of
        self._decoders: dict[int, Decoder | None] = {}

    def read(self, records: list[Message]) -> tuple[Offsets, dict[str, Any], Offsets]:
        """Places of the readable ones, their columns (Arrow), places of the others."""
        values = [record.value() for record in records]
        framed = split_frames(values)
        bad = [refusal.row for refusal in framed.refusals]
        places: list[Offsets] = []
        batches = []
        for schema_id, rows in framed.groups.items():
            decoder = self._decoder(schema_id)
            if decoder is None:
                bad += rows.tolist()
                continue
            whole = len(rows) == len(values)
            given: list[Any] = values if whole else [values[row] for row in rows.tolist()]
            decoded = decoder.decode(given, skip=FRAME_BYTES)
            bad += [int(rows[refusal.row]) for refusal in decoded.refusals]
            places.append(rows[decoded.rows])
            batches.append(decoded.columns)
        if not batches:
            return np.empty(0, np.int64), {}, np.array(sorted(bad), np.int64)
        table, where = pa.Table.from_batches(batches), np.concatenate(places)
        if len(batches) > 1:
            order = np.argsort(where)
            table, where = table.take(pa.array(order)), where[order]
        columns = {name: table.column(name) for name in table.schema.names}
        return where, columns, np.array(sorted(bad), np.int64)

    def _decoder(self, schema_id: int) -> Decoder | None:
        if schema_id not in self._decoders:
            try:
                made = make_decoder(self._schema_of(schema_id), self._reader)
            except (RecordRefused, ContractMismatch):
                return None  # asked again at the next batch: it may be registered by then
            self._decoders[schema_id] = made
        return self._decoders[schema_id]


def letter_fields(record: Message, names: dict[str, str]) -> dict[str, Any] | None:
    """The fields of a dead letter by its headers; None where it has not what it must have."""
    given = dict(record.headers() or [])
    fields: dict[str, Any] = {}
    for field, header in names.items():
        raw = given.get(header)
        try:
            text = raw.decode() if isinstance(raw, bytes) else raw
            fields[field] = int(text) if field in _NUMBERS and text is not None else text
        except ValueError:
            return None
        if field in _NUMBERS and abs(fields[field] or 0) >= 1 << 63:
            return None
        if text is None and field != "event_schema_id":
            return None
    return fields
