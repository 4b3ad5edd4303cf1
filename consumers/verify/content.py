"""Rule A6 on real parts: records against rows, and a sample of predictions made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from consumers.verify.answers import Predictions, SchemaOf, letter_fields
from consumers.verify.log import Chunk, Removed, gathered
from consumers.verify.releases import ReleaseView
from consumers.verify.rows import Rows
from millstream.audit.content import bits, differing
from millstream.audit.ledger import Kind, Ledger
from millstream.audit.offsets import Offsets
from millstream.audit.rescore import EventReader, Rescorer
from millstream.columnar import FRAME_BYTES
from millstream.contracts import dead_letter_headers
from millstream.errors import RecordRefused
from millstream.records import TIME_US_MAX, TIME_US_MIN
from millstream.stream import Stream

SAMPLE_MAX: Final = 20_000
SAMPLE_BYTES_MAX: Final = 64_000_000
SAMPLE_A_QUERY: Final = 1_000
RECORDS_A_QUERY: Final = 20_000
HELD_BYTES_MAX: Final = 64_000_000
_UNITS: Final = {
    "toUnixTimestamp64Milli": 1_000,
    "toUnixTimestamp64Micro": 1,
    "toInt32": 86_400_000_000,
}
Chunks = Iterator[Chunk | Removed]

_KEY: Final = {"kafka_key": "hex(kafka_key)"}
_DOUBLES: Final = {"score", "scores", "confidence"}
_PLAIN: Final = {"string", "int", "long", "boolean", "float", "double"}
_TIMES: Final = {
    "timestamp-millis": "toUnixTimestamp64Milli({})",
    "timestamp-micros": "toUnixTimestamp64Micro({})",
    "date": "toInt32({})",
}


class Sample:
    """Bytes of some events, chosen by their offset, until their predictions came by.

    every: one in so many. Bounded by SAMPLE_MAX events and SAMPLE_BYTES_MAX bytes; the oldest go
    first.
    """

    def __init__(self, every: int = 100) -> None:
        self.every = every
        self._held: dict[tuple[int, int], bytes] = {}
        self._bytes = 0

    def see(self, chunk: Chunk) -> None:
        """Keep the chosen ones of a chunk of events."""
        # a multiplicative hash: neighbours and every n-th event are chosen alike
        mixed = (chunk.offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33)
        for row in np.flatnonzero(mixed % np.uint64(self.every) == 0).tolist():
            value = chunk.records[row].value()
            if value and len(value) > FRAME_BYTES:
                self._held[(chunk.partition, int(chunk.offsets[row]))] = value
                self._bytes += len(value)
        while len(self._held) > SAMPLE_MAX or self._bytes > SAMPLE_BYTES_MAX:
            self._bytes -= len(self._held.pop(next(iter(self._held))))

    def of(self, partition: int) -> dict[int, bytes]:
        """Offset -> bytes, ascending."""
        return dict(sorted((o, v) for (p, o), v in self._held.items() if p == partition))

    def done(self, partition: int, end: int) -> None:
        """Those below `end` have served."""
        for place in [(p, o) for p, o in self._held if p == partition and o < end]:
            self._bytes -= len(self._held.pop(place))


class Contents:
    """Compares what is in the tables with what is on Kafka. compared, rescored: how many."""

    def __init__(
        self,
        stream: Stream,
        rows: Rows,
        schema_of: SchemaOf,
        rescorers: list[Rescorer],
        ledger: Ledger,
        releases: ReleaseView | None = None,
    ) -> None:
        self._releases = releases
        self._stream = stream
        self._rows = rows
        self._ledger = ledger
        self._predictions = Predictions(schema_of)
        self._schema_of = schema_of
        self._events = EventReader(stream.schema_of_event.text)
        self._event_columns = event_columns(stream)
        self._rescorers = {each.digest: each for each in rescorers}
        self.compared = 0
        self.rescored = 0

    def predictions(self, chunks: Chunks, sample: Sample | None) -> None:
        """Every prediction against its row and its release; those of sampled events against the
        model as well."""
        if self._releases is not None:
            self._releases.refresh()
        topic = self._stream.topic("predictions")
        unsaid = _private_columns(self._stream)
        for chunk in gathered(chunks, RECORDS_A_QUERY, HELD_BYTES_MAX):
            if isinstance(chunk, Removed):
                continue
            places, columns, _ = self._predictions.read(chunk.records)
            if not len(places):
                continue
            said = {name: _listed(column) for name, column in columns.items()}
            wanted = said | {name: _bits(columns[name]) for name in columns if name in _DOUBLES}
            wanted["kafka_key"] = _hex_keys([chunk.records[place] for place in places.tolist()])
            expressions = {name: _expression(name, column) for name, column in columns.items()}
            offsets = chunk.offsets[places]
            wanted = {name: column for name, column in wanted.items() if name not in unsaid}
            self._compare("predictions", topic, chunk.partition, offsets, wanted, expressions)
            if self._releases is not None:
                self._judge_release(self._releases, said)
            if sample is not None:
                self._rescore(chunk.partition, said, sample)

    def letters(self, chunks: Chunks) -> None:
        """Every dead letter against its row."""
        topic = self._stream.topic("dead_letters")
        names = dict(dead_letter_headers())
        names.pop("refused_at")  # a letter's text, a row's time
        private = self._stream.privacy.private
        for chunk in gathered(chunks, RECORDS_A_QUERY, HELD_BYTES_MAX):
            if isinstance(chunk, Removed):
                continue
            read = [letter_fields(record, names) for record in chunk.records]
            places = [place for place, fields in enumerate(read) if fields is not None]
            letters = [fields for fields in read if fields is not None]
            if not letters:
                continue
            records = [chunk.records[place] for place in places]
            wanted: dict[str, list[Any]] = {n: [each[n] for each in letters] for n in names}
            expressions = {name: name for name in names}
            if not private:
                wanted["kafka_value"] = [_md5(record.value()) for record in records]
                expressions["kafka_value"] = "lower(hex(MD5(kafka_value)))"
            if self._stream.event.key not in private:
                wanted["kafka_key"] = _hex_keys(records)
                expressions |= _KEY
            offsets = chunk.offsets[np.array(places)]
            self._compare("dead_letters", topic, chunk.partition, offsets, wanted, expressions)

    def events(self, partition: int, sample: Sample, end: int) -> None:
        """The sampled events below `end` against their rows."""
        topic = self._stream.topic("events")
        held = [(offset, value) for offset, value in sample.of(partition).items() if offset < end]
        for start in range(0, len(held), SAMPLE_A_QUERY):
            read: dict[int, dict[str, Any]] = {}
            for offset, value in held[start : start + SAMPLE_A_QUERY]:
                event = self._event(value)
                if event is not None:
                    read[offset] = event
            if not read or not self._event_columns:
                continue
            offsets = np.array(list(read), np.int64)
            expressions = self._event_columns | {"kafka_unreadable": "kafka_unreadable"}
            where, rows = self._rows.columns(
                "events", topic, partition, expressions, offsets, exact=True
            )
            good = [i for i, bad in enumerate(rows.pop("kafka_unreadable")) if not bad]
            wanted = {
                name: [
                    _as_column(event[name], self._event_columns[name]) for event in read.values()
                ]
                for name in self._event_columns
            }
            given = {name: [column[i] for i in good] for name, column in rows.items()}
            self._note("events", partition, differing(offsets, wanted, where[good], given))
            self.compared += len(good)

    def _compare(
        self,
        table: str,
        topic: str,
        partition: int,
        offsets: Offsets,
        wanted: dict[str, list[Any]],
        expressions: dict[str, str],
    ) -> None:
        shown = {name: (expressions | _KEY)[name] for name in wanted}
        where, given = self._rows.columns(table, topic, partition, shown, offsets)
        self._note(table, partition, differing(offsets, wanted, where, given))
        self.compared += len(offsets)

    def _note(self, table: str, partition: int, found: dict[int, list[str]]) -> None:
        if found:
            names = ", ".join(sorted({name for columns in found.values() for name in columns}))
            self._ledger.add(Kind.ROW_DIFFERS, table, partition, found, f"in {names}")

    def _rescore(self, partition: int, said: dict[str, list[Any]], sample: Sample) -> None:
        """The predictions of this chunk whose events are in the sample."""
        topic = self._stream.topic("events")
        held = sample.of(partition)
        sources = np.array(said["source_offset"], np.int64)
        here = np.array(said["source_partition"], np.int64) == partition
        chosen = here & np.isin(sources, np.fromiter(held, np.int64, len(held)))
        strange: dict[str, int] = {}
        for row in np.flatnonzero(chosen).tolist():
            if said["answered_by"][row] == "abstained":
                continue  # there is nothing to make again
            digest = said["model_digest"][row]
            rescorer = self._rescorers.get(digest)
            if rescorer is None and self._releases is not None:
                rescorer = self._releases.rescorer(digest)
            if rescorer is None:
                strange[digest] = strange.get(digest, 0) + 1
                continue
            offset = int(sources[row])
            wrong = self._again(rescorer, held[offset], {n: c[row] for n, c in said.items()})
            self.rescored += 1
            if wrong:
                self._ledger.add(Kind.SCORE_DIFFERS, topic, partition, [offset], wrong)
        for digest, count in strange.items():
            why = f"they name the model {digest}, whose bundle is not at hand: give it by --bundle"
            self._ledger.count(Kind.NOT_RESCORED, topic, None, count, why)

    def _judge_release(self, releases: ReleaseView, said: dict[str, list[Any]]) -> None:
        """The predictions of this chunk by the release that was in force."""
        topic = self._stream.topic("events")
        partitions = np.array(said["source_partition"], np.int64)
        ours = np.array([name == topic for name in said["source_topic"]])
        for number in np.unique(partitions[ours]).tolist():
            rows = np.flatnonzero(ours & (partitions == number)).tolist()
            offsets = np.array([said["source_offset"][row] for row in rows], np.int64)
            named = [(said["model_version"][row], said["model_digest"][row]) for row in rows]
            wrong = releases.wrong_side(number, offsets, named)
            self._ledger.add(Kind.WRONG_RELEASE, topic, number, wrong)

    def _again(self, rescorer: Rescorer, value: bytes, said: dict[str, Any]) -> str:
        """What is different; empty where nothing is."""
        event = self._event(value)
        if event is None:
            return "the event cannot be read"
        try:
            answer = rescorer.score(event)
        except ValueError as why:
            return str(why)
        same = (
            bits(answer.scores) == bits(said["scores"])
            and bits([answer.score]) == bits([said["score"]])
            and answer.label == said["label"]
        )
        return "" if same else f"score {said['score']!r} is said, {answer.score!r} is right"

    def _event(self, value: bytes) -> dict[str, Any] | None:
        schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
        try:
            if not self._events.knows(schema_id):
                self._events.learn(schema_id, self._schema_of(schema_id))
            return self._events.read(value)
        except (RecordRefused, ValueError):
            return None


def event_columns(stream: Stream) -> dict[str, str]:
    """Event field -> the SQL by which its column can be compared, where it can."""
    found = {}
    for field in json.loads(stream.schema_of_event.text)["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        plain = [branch for branch in branches if branch != "null"]
        if len(plain) != 1 or field["name"] in stream.privacy.private:
            continue
        kind, logical = plain[0], None
        if isinstance(kind, dict):
            kind, logical = kind["type"], kind.get("logicalType")
        name = f"`{field['name']}`"
        if logical in _TIMES:
            found[field["name"]] = _TIMES[logical].format(name)
        elif logical is None and kind in {"bytes", "fixed"}:
            found[field["name"]] = f"hex({name})"
        elif (logical is None and kind in {*_PLAIN, "enum"}) or logical == "uuid":
            found[field["name"]] = name
    return found


def _private_columns(stream: Stream) -> set[str]:
    """Columns of a prediction's row that repeat a private field, and so are empty."""
    event, private = stream.event, stream.privacy.private
    repeats = {"event_id": event.id, "key": event.key, "event_time": event.time}
    return {name for name, of in (repeats | {"kafka_key": event.key}).items() if of in private}


def _as_column(value: Any, expression: str) -> Any:
    """A value as its column has it; a time that no column holds is null there."""
    if isinstance(value, bytes):
        return value.hex().upper()
    unit_us = next((unit for start, unit in _UNITS.items() if expression.startswith(start)), None)
    if unit_us is None or value is None:
        return value
    return value if TIME_US_MIN <= value * unit_us <= TIME_US_MAX else None


def _expression(name: str, column: Any) -> str:
    """How a prediction's column is asked for."""
    if name == "scores":
        return "arrayMap(x -> reinterpretAsInt64(x), scores)"
    if pa.types.is_timestamp(column.type):
        return f"toUnixTimestamp64Micro({name})"
    if pa.types.is_floating(column.type):
        return f"reinterpretAsInt64({name})"
    return name


def _listed(column: Any) -> list[Any]:
    """Python values; times as microseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    listed: list[Any] = column.to_pylist()
    return listed


def _bits(column: Any) -> list[Any]:
    """Doubles, or lists of them, as their 64 bits."""
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        bits_of: list[Any] = array.view(pa.int64()).to_pylist()
        return bits_of
    ends = np.cumsum(pc.list_value_length(array).to_numpy())
    offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32))
    exact = pa.ListArray.from_arrays(offsets, array.flatten().view(pa.int64()))
    listed: list[Any] = exact.to_pylist()
    return listed


def _hex_keys(records: list[Message]) -> list[str]:
    keys = [record.key() for record in records]
    return [key.hex().upper() if isinstance(key, bytes) else "" for key in keys]


def _md5(value: str | bytes | None) -> str:
    raw = value if isinstance(value, bytes) else b""
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()
