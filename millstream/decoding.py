"""From Kafka values to columns of events: frame -> decode -> validate. A row that one step refuses
takes no part in the next; its neighbours do."""

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
    arrow_schema,
    make_decoder,
    split_frames,
)
from millstream.errors import ContractMismatch, RecordRefused, Refusal, Stage
from millstream.records import SCHEMA_ID_MAX, TIME_US_MAX, TIME_US_MIN, Records
from millstream.stream import Stream

SchemaOf = Callable[[int], str]
"""Schema id -> Avro schema as JSON text. Raises RecordRefused where the registry has none."""
ID_BYTES_MAX = 1_024
"""Of an event's id and key: every prediction repeats them."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A batch of n records, the columns of those that can be read, and their rows, ascending.

    schema_ids: int64 [n], -1 where there was none. refusals: the others.
    """

    records: Records
    schema_ids: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    refusals: list[Refusal]


class EventDecoder:
    """schema_of: how to find a writer's schema."""

    def __init__(self, stream: Stream, schema_of: SchemaOf) -> None:
        self._stream = stream
        self._schema_of = schema_of
        self._decoders: dict[int, Decoder] = {}
        event = stream.event
        names = (event.id, event.key, event.time, *stream.features.order)
        self._needed = list(dict.fromkeys(names))
        self._reader = stream.schema_of_event.text
        make_decoder(self._reader)  # compiles the codec before the first event comes

    def read(self, records: Records) -> Decoded:
        """Their columns. Raises DependencyUnavailable where the registry does not answer."""
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
        return Decoded(records, schema_ids, columns, rows, refusals)

    def times(self, records: Records) -> npt.NDArray[np.int64]:
        """int64 [n], microseconds: when the events happened; TIME_US_MIN where nobody can say.

        Raises as `read`.
        """
        decoded = self.read(records)
        times = np.full(len(records), TIME_US_MIN, np.int64)
        column = decoded.columns.column(self._stream.event.time)
        found = pc.cast(column, pa.timestamp("us", "UTC"))
        times[decoded.rows] = found.view(pa.int64()).to_numpy(zero_copy_only=False)
        return times

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
