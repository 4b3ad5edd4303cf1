"""From a batch of Kafka values to a batch of encoded predictions, column by column.

frame -> decode -> validate -> score -> encode. A row that one step refuses takes no part in the
next; its neighbours do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import (
    FRAME_BYTES,
    Decoder,
    Encoder,
    arrow_schema,
    frame,
    make_decoder,
    split_frames,
)
from millstream.contracts import contract
from millstream.errors import ContractMismatch, RecordRefused, Refusal, Stage
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.overload import LadderSession
from millstream.models.session import Scored, Session
from millstream.records import SCHEMA_ID_MAX, TIME_US_MAX, TIME_US_MIN, Records
from millstream.stream import Stream

SchemaOf = Callable[[int], str]
"""Schema id -> Avro schema as JSON text. Raises RecordRefused where the registry has none."""
Clock = Callable[[], int]
"""Microseconds since 1970, UTC."""
_CONSTANTS = ("model", "model_version", "model_digest", "source_topic", "answered_by")
"""Fields of a prediction that are the same in all of a batch: they are encoded once. The last may
differ from row to row."""
ID_BYTES_MAX = 1_024
"""Of an event's id and key: every prediction repeats them."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of a batch of n records: each row is in `rows` or in `refusals`, never both.

    rows: int64 [m], ascending. predictions: m framed Avro values. refusals: the n - m others.
    schema_ids: int64 [n], -1 where there was none. latency_us: int64 [m], published to scored.
    answered: mark of the prediction contract -> how many rows were answered so.
    """

    rows: npt.NDArray[np.int64]
    predictions: list[bytes]
    refusals: tuple[Refusal, ...]
    schema_ids: npt.NDArray[np.int64]
    latency_us: npt.NDArray[np.int64]
    answered: dict[str, int]


class ScoringPlan:
    """Everything that scoring one stream with one model needs, prepared once.

    schema_of: how to find a writer's schema. clock: the time of scoring.
    prediction_schema_id: the registry's id of the prediction contract.
    Raises ContractMismatch where the event schema and the bundle do not fit.
    """

    def __init__(
        self,
        stream: Stream,
        bundle: Bundle,
        session: Session | CachedSession | LadderSession,
        schema_of: SchemaOf,
        prediction_schema_id: int,
        clock: Clock,
    ) -> None:
        self._stream = stream
        self._bundle = bundle
        self._session = session
        self._schema_of = schema_of
        self._clock = clock
        self._decoders: dict[int, Decoder] = {}
        self._prefix = frame(prediction_schema_id)
        event = stream.event
        names = (event.id, event.key, event.time, *stream.features.order)
        self._needed = list(dict.fromkeys(names))
        self._reader = stream.schema_of_event.text
        make_decoder(self._reader)  # compiles the codec before the first event comes
        whole = arrow_schema(contract("prediction").text)
        self._schema = pa.schema([field for field in whole if field.name not in _CONSTANTS])
        self._marked = self._schema.append(whole.field("answered_by"))
        self._kinds = {field.name: field.type for field in self._schema}
        self._encoders: dict[tuple[str, str | None, str], Encoder] = {}  # topic, mark, digest
        self._encoder(stream.topic("events"), "full", bundle)

    def run(self, records: Records) -> Answers:
        """Score the batch. Raises DependencyUnavailable where the registry does not answer."""
        refusals: list[Refusal] = []
        schema_ids = np.full(len(records), -1, np.int64)
        values = self._within_size(records, refusals)
        framed = split_frames(values)
        oversized = {refusal.row for refusal in refusals}
        refusals += [r for r in framed.refusals if r.row not in oversized]
        parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]] = []
        for schema_id, rows in framed.groups.items():
            schema_ids[rows] = schema_id if schema_id <= SCHEMA_ID_MAX else -1
            part = self._decode(schema_id, values, rows, refusals)
            if part is not None and len(part[1]):
                parts.append(part)
        columns, rows = _in_order(parts, self._reader, self._needed)
        columns, rows = self._identified(columns, rows, refusals)
        columns, rows = self._dated(columns, rows, refusals)
        if isinstance(self._session, LadderSession):
            self._session.observe(*_waited(records, self._clock()))
        scored = self._session.score(columns)
        refusals += [replace(r, row=int(rows[r.row])) for r in scored.refusals]
        if len(scored.rows) != len(rows):
            columns, rows = columns.take(pa.array(scored.rows)), rows[scored.rows]
        now = self._clock()
        batch, latency_us = self._columns(columns, rows, scored, records, schema_ids, now)
        mark = scored.answered_by if isinstance(scored.answered_by, str) else None
        encoder = self._encoder(records.topic, mark, scored.bundle or self._bundle)
        predictions = encoder.encode(batch)
        answered = _counted(scored)
        return Answers(rows, predictions, tuple(refusals), schema_ids, latency_us, answered)

    def _within_size(self, records: Records, refusals: list[Refusal]) -> list[bytes | None]:
        """The values; those that are above event.bytes_max with their key are refused, emptied."""
        bytes_max = self._stream.event.bytes_max
        if _longest(records.values) + _longest(records.keys) <= bytes_max:
            return records.values
        kept = list(records.values)
        for row, (value, key) in enumerate(zip(records.values, records.keys, strict=True)):
            size = len(value or b"") + len(key or b"")
            if size > bytes_max:
                reason = f"{size} bytes with its key, event.bytes_max is {bytes_max}"
                refusals.append(Refusal(row, Stage.FRAME, "too_large", reason))
                kept[row] = None
        return kept

    def _decode(
        self,
        schema_id: int,
        values: list[bytes | None],
        rows: npt.NDArray[np.int64],
        refusals: list[Refusal],
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]] | None:
        """The rows of one writer's schema as columns; None where none of them can be read."""
        try:
            decoder = self._decoder(schema_id)
        except RecordRefused as why:
            refusals += [Refusal(int(r), why.stage, why.name, why.reason) for r in rows]
            return None
        whole = len(rows) == len(values)
        picked = values if whole else [values[row] for row in rows]
        decoded = decoder.decode(picked, skip=FRAME_BYTES)  # type: ignore[arg-type]
        refusals += [replace(r, row=int(rows[r.row])) for r in decoded.refusals]
        return decoded.columns, rows[decoded.rows]

    def _decoder(self, schema_id: int) -> Decoder:
        known = self._decoders.get(schema_id)
        if known is not None:
            return known
        writer = self._schema_of(schema_id)
        try:
            made = make_decoder(writer, self._reader, self._needed)
        except ContractMismatch as why:
            raise RecordRefused(Stage.FRAME, "incompatible_schema", why.problem) from why
        self._decoders[schema_id] = made
        return made

    def _identified(
        self,
        columns: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        refusals: list[Refusal],
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Without the rows whose id or key is too long for a prediction, or whose id is empty."""
        good: npt.NDArray[np.bool_] | None = None
        for field, shortest in ((self._stream.event.id, 1), (self._stream.event.key, 0)):
            column = columns.column(field)
            if not len(column) or not pa.types.is_string(column.type):
                continue
            length = _lengths(column)
            if length.min() >= shortest and length.max() <= ID_BYTES_MAX:
                continue
            good = np.ones(len(rows), bool) if good is None else good
            bad = good & ((length < shortest) | (length > ID_BYTES_MAX))
            reason = f"field {field} is empty or above {ID_BYTES_MAX} bytes"
            refusals += [Refusal(int(r), Stage.VALIDATE, "bad_id", reason) for r in rows[bad]]
            good &= ~bad
        if good is None:
            return columns, rows
        return columns.filter(pa.array(good)), rows[good]

    def _dated(
        self,
        columns: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        refusals: list[Refusal],
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """Without the rows whose time no table could hold."""
        field = self._stream.event.time
        column = columns.column(field)
        scale = 1_000 if column.type.unit == "ms" else 1
        times = column.view(pa.int64()).to_numpy(zero_copy_only=False)
        good = (times >= TIME_US_MIN // scale) & (times <= TIME_US_MAX // scale)
        if good.all():
            return columns, rows
        reason = f"field {field} is not between the years 1900 and 2299"
        refusals += [Refusal(int(r), Stage.VALIDATE, "bad_time", reason) for r in rows[~good]]
        return columns.filter(pa.array(good)), rows[good]

    def _columns(
        self,
        columns: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        scored: Scored,
        records: Records,
        schema_ids: npt.NDArray[np.int64],
        now: int,
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
        """The columns of the prediction contract, and the latency of each row."""
        event = self._stream.event
        count, kinds = len(rows), self._kinds
        published = records.timestamps_us[rows]
        latency_us = np.where(published >= 0, now - published, 0)
        width = scored.scores.shape[1]
        ends = np.arange(0, (count + 1) * width, width, dtype=np.int32)
        scores = np.ascontiguousarray(scored.scores).reshape(-1)
        in_time = latency_us <= self._stream.serving.latency_budget_ms * 1000
        made = {
            "event_id": _cast(columns.column(event.id), pa.string()),
            "key": _cast(columns.column(event.key), pa.string()),
            "event_time": _cast(columns.column(event.time), kinds["event_time"]),
            "published_at": pa.array(np.maximum(published, 0)).view(kinds["published_at"]),
            "scored_at": pa.array(np.full(count, now)).view(kinds["scored_at"]),
            "in_budget": pa.array(in_time),
            "score": pa.array(scored.score),
            "scores": pa.ListArray.from_arrays(
                pa.array(ends), pa.array(scores), type=kinds["scores"]
            ),
            "label": _cast(scored.label, pa.string()),
            "confidence": pa.array(scored.confidence, from_pandas=True),
            "source_partition": pa.array(records.partitions[rows]),
            "source_offset": pa.array(records.offsets[rows]),
            "event_schema_id": pa.array(schema_ids[rows].astype(np.int32)),
        }
        arrays = [made[name] for name in kinds]
        if isinstance(scored.answered_by, str):
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema), latency_us
        arrays.append(scored.answered_by)
        return pa.RecordBatch.from_arrays(arrays, schema=self._marked), latency_us

    def _encoder(self, topic: str, mark: str | None, bundle: Bundle) -> Encoder:
        """The one for events of this topic, all answered so; None: each row says how."""
        known = self._encoders.get((topic, mark, bundle.digest))
        if known is None:
            values = (bundle.name, bundle.version, bundle.digest, topic, mark)
            constants = dict(zip(_CONSTANTS, values, strict=True))
            if mark is None:
                del constants["answered_by"]
            known = Encoder(contract("prediction").text, self._prefix, constants=constants)
            self._encoders[topic, mark, bundle.digest] = known
        return known


def _counted(scored: Scored) -> dict[str, int]:
    """Rows by what answered them."""
    if isinstance(scored.answered_by, str):
        return {scored.answered_by: len(scored.rows)} if len(scored.rows) else {}
    counts = pc.value_counts(scored.answered_by).to_pylist()
    return {each["values"]: each["counts"] for each in counts}


def _waited(records: Records, now_us: int) -> tuple[int, int]:
    """The time, and how long the middle one of these events has waited."""
    published = records.timestamps_us[records.timestamps_us >= 0]
    return now_us, max(0, now_us - int(np.median(published))) if len(published) else 0


def _longest(texts: list[bytes | None]) -> int:
    """Bytes of the longest; None has none."""
    try:
        return max(map(len, texts), default=0)  # type: ignore[arg-type]
    except TypeError:
        return max(len(text or b"") for text in texts)


def _lengths(texts: pa.StringArray) -> npt.NDArray[np.int32]:
    """Bytes of each of at least one text; 0 for a null."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)
    return offsets[1:] - offsets[:-1]


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """pyarrow takes 10 µs to cast to the same type."""
    return column if column.type == kind else pc.cast(column, kind)


def _in_order(
    parts: list[tuple[pa.RecordBatch, npt.NDArray[np.int64]]], schema: str, names: list[str]
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The parts of several writers' schemas as one batch, its rows ascending."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return _empty(schema, names)
    rows = np.concatenate([rows for _, rows in parts])
    order = np.argsort(rows, kind="stable")
    table = pa.Table.from_batches([columns for columns, _ in parts]).combine_chunks()
    return table.take(pa.array(order)).combine_chunks().to_batches()[0], rows[order]


def _empty(schema: str, names: list[str]) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    whole = arrow_schema(schema)
    fields = pa.schema([whole.field(name) for name in names])
    arrays = [pa.array([], field.type) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, schema=fields), np.empty(0, np.int64)
