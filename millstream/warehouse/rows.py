"""Kafka records as table rows: one row for each record, whatever its bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import FRAME_BYTES, Decoder, arrow_schema, make_decoder, split_frames
from millstream.contracts import Topic, contract, topic_table
from millstream.errors import ContractMismatch, RecordRefused, Refusal, Stage
from millstream.letters import from_headers
from millstream.records import SCHEMA_ID_MAX, TIME_US_MAX, TIME_US_MIN, Records
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns, repeating_columns

_TIME = pa.timestamp("us", "UTC")
_US = {"ms": 1_000, "us": 1}
_US_A_DAY = 86_400_000_000
_TIME_MIN, _TIME_MAX = (
    datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    for time in (TIME_US_MIN, TIME_US_MAX)
)


class RowMaker(Protocol):
    """Turns records of one topic into rows of one table, in the records' order."""

    table: str

    def rows(self, records: Records) -> pa.Table:
        """As many rows as records. Raises DependencyUnavailable where a schema cannot be asked."""


class AvroRows:
    """Rows of a topic whose values are framed Avro.

    columns: the reader's fields that become columns. keep_bytes: whether the bytes of an unreadable
    record are kept. keep_key: whether its Kafka key is. repeating: texts that go to ClickHouse as a
    dictionary, as it keeps them.
    """

    def __init__(
        self,
        table: str,
        reader: str,
        columns: list[str],
        schema_of: Callable[[int], str],
        *,
        keep_bytes: bool = True,
        keep_key: bool = True,
        repeating: Collection[str] = (),
    ) -> None:
        self.table = table
        self._reader = reader
        self._fields = [field for field in arrow_schema(reader) if field.name in columns]
        self._schema_of = schema_of
        make_decoder(reader)  # compiles the codec before the first record comes
        self._decoders: dict[int, Decoder | RecordRefused] = {}
        self._keep_bytes = keep_bytes
        self._keep_key = keep_key
        self._repeating = {
            field.name
            for field in self._fields
            if field.name in repeating and pa.types.is_string(field.type)
        }

    def rows(self, records: Records) -> pa.Table:
        count = len(records)
        framed = split_frames(records.values)
        schema_ids = np.full(count, -1, np.int32)
        refusals = list(framed.refusals)
        parts, places = [], []
        for schema_id, group in framed.groups.items():
            schema_ids[group] = schema_id if schema_id <= SCHEMA_ID_MAX else -1
            decoder = self._decoder(schema_id)
            if isinstance(decoder, RecordRefused):
                refusals += [
                    Refusal(int(r), decoder.stage, decoder.name, decoder.reason) for r in group
                ]
                continue
            whole = len(group) == count
            values = records.values if whole else [records.values[row] for row in group]
            decoded = decoder.decode(values, skip=FRAME_BYTES)  # type: ignore[arg-type]
            refusals += [replace(r, row=int(group[r.row])) for r in decoded.refusals]
            names = [field.name for field in self._fields]
            parts.append(pa.Table.from_batches([decoded.columns]).select(names))
            places.append(group[decoded.rows])
        table = _storable(self._spread(parts, places, count))
        unreadable = {refusal.row: refusal.name for refusal in refusals}
        columns = dict(zip(table.column_names, table.columns, strict=True))
        columns |= {name: _repeated(columns[name]) for name in self._repeating}
        columns |= coordinates(
            records,
            records.keys if self._keep_key else None,
            [(row, records.values[row]) for row in unreadable] if self._keep_bytes else [],
            unreadable,
        )
        return pa.table(columns | {"kafka_schema_id": pa.array(schema_ids)})

    def _decoder(self, schema_id: int) -> Decoder | RecordRefused:
        known = self._decoders.get(schema_id)
        if known is not None:
            return known
        try:
            made: Decoder | RecordRefused = make_decoder(self._schema_of(schema_id), self._reader)
        except RecordRefused as why:
            return why
        except ContractMismatch as why:
            made = RecordRefused(Stage.FRAME, "incompatible_schema", why.problem)
        self._decoders[schema_id] = made
        return made

    def _spread(
        self, parts: list[pa.Table], places: list[npt.NDArray[np.int64]], count: int
    ) -> pa.Table:
        """`count` rows: the decoded ones at their places, null elsewhere."""
        schema = pa.schema([field.with_nullable(True) for field in self._fields])
        if not parts:
            return pa.Table.from_arrays([pa.nulls(count, f.type) for f in schema], schema=schema)
        found = pa.concat_tables(parts).cast(schema)
        where = np.full(count, -1, np.int64)
        where[np.concatenate(places)] = np.arange(found.num_rows)
        if found.num_rows == count and (where == np.arange(count)).all():
            return found
        return found.take(pa.array(where, mask=where < 0))


class LetterRows:
    """Rows of the dead-letter topic: the headers as columns, the event's bytes as they were."""

    table = "dead_letters"

    def __init__(self, *, keep_bytes: bool = True, keep_key: bool = True) -> None:
        self._keep_bytes = keep_bytes
        self._keep_key = keep_key
        numbers = {"source_partition": pa.int32(), "source_offset": pa.int64()} | dict.fromkeys(
            ("attempt", "event_schema_id"), pa.int32()
        )
        names = [field.name for field in arrow_schema(contract("dead_letter").text)]
        self._types = {name: numbers.get(name, pa.string()) for name in names}
        self._types["refused_at"] = pa.timestamp("ms", "UTC")

    def rows(self, records: Records) -> pa.Table:
        count = len(records)
        unreadable: dict[int, str] = {}
        columns: dict[str, list[object]] = {name: [None] * count for name in self._types}
        for row in range(count):
            try:
                letter = from_headers(records.headers.get(row, ()))
            except RecordRefused as why:
                unreadable[row] = why.name
                continue
            for name, column in columns.items():
                column[row] = getattr(letter, name)
        columns["refused_at"] = [_iso_time(text) for text in columns["refused_at"]]
        arrays = {name: pa.array(values, self._types[name]) for name, values in columns.items()}
        arrays |= coordinates(
            records,
            records.keys if self._keep_key else None,
            list(enumerate(records.values)) if self._keep_bytes else [],
            unreadable,
        )
        return pa.table(arrays)


def row_makers(
    stream: Stream, schema_of: Callable[[int], str], kinds: Collection[str]
) -> dict[str, RowMaker]:
    """Topic name -> what makes its rows, for those of these topics that have a table.

    Raises ContractMismatch where a topic names a contract that is not there.
    """
    private = stream.privacy.private
    own: dict[str, Callable[[], RowMaker]] = {
        "events": lambda: event_rows(stream, schema_of),
        "dead_letters": lambda: LetterRows(
            keep_bytes=not private, keep_key=stream.event.key not in private
        ),
    }

    def make(topic: Topic) -> RowMaker:
        found = own.get(topic.kind)
        return found() if found else contract_rows(stream, topic, schema_of)

    return {
        topic.name(stream.name): make(topic)
        for topic in topic_table().values()
        if topic.table is not None and topic.kind in kinds
    }


def event_rows(stream: Stream, schema_of: Callable[[int], str]) -> AvroRows:
    """Rows of `events`. Private fields stay away, an unreadable event's bytes with them."""
    private = stream.privacy.private
    return AvroRows(
        "events",
        stream.schema_of_event.text,
        list(event_columns(stream)),
        schema_of,
        keep_bytes=not private,
        keep_key=stream.event.key not in private,
        repeating=repeating_columns(stream, "events"),
    )


def contract_rows(stream: Stream, topic: Topic, schema_of: Callable[[int], str]) -> AvroRows:
    """Rows of a topic of one contract. A private key, id or time of the event stays away here
    too."""
    assert topic.table is not None, topic.kind
    text, event, private = contract(topic.value).text, stream.event, stream.privacy.private
    repeated = {"event_id": event.id, "key": event.key, "event_time": event.time}
    columns = [name for name in arrow_schema(text).names if repeated.get(name) not in private]
    return AvroRows(
        topic.table,
        text,
        columns,
        schema_of,
        keep_bytes=not private,
        keep_key=event.key not in private,
        repeating=repeating_columns(stream, topic.table),
    )


def coordinates(
    records: Records,
    keys: Sequence[bytes | None] | None,
    values: Sequence[tuple[int, bytes | None]],
    unreadable: Mapping[int, str],
) -> dict[str, pa.Array]:
    """The columns that every table has of its Kafka record.

    keys: None to keep none. values: those to keep, by row. unreadable: why, by row.
    """
    count = len(records)
    times = np.clip(records.timestamps_us, 0, TIME_US_MAX)
    nothing = pa.repeat(pa.scalar(b""), count)
    shown, reasons = nothing, _same("", count)
    if values:
        kept: list[bytes] = [b""] * count
        for row, value in values:
            kept[row] = value or b""
        shown = pa.array(kept, pa.binary())
    if unreadable:
        names = [unreadable.get(row, "") for row in range(count)]
        reasons = pa.array(names, pa.string()).dictionary_encode()
    return {
        "kafka_topic": _same(records.topic, count),
        "kafka_partition": pa.array(records.partitions),
        "kafka_offset": pa.array(records.offsets),
        "kafka_time": pa.array(times).cast(_TIME),
        "kafka_key": nothing if keys is None else pa.array(keys, pa.binary()).fill_null(b""),
        "kafka_value": shown,
        "kafka_unreadable": reasons,
    }


def _same(text: str, count: int) -> pa.DictionaryArray:
    """One text in every row."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([text]))


def _repeated(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts as a dictionary; one text in every row is found without hashing each."""
    texts = column.combine_chunks()
    texts = texts.chunk(0) if isinstance(texts, pa.ChunkedArray) else texts
    if len(texts) and not texts.null_count and not texts.offset:
        offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1)
        size = int(offsets[1] - offsets[0])
        data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        if (np.diff(offsets) == size).all():
            each = data.reshape(len(texts), size)
            if (each == each[0]).all():
                return _same(texts[0].as_py(), len(texts))
    return texts.dictionary_encode()


def _storable(table: pa.Table) -> pa.Table:
    """The columns as ClickHouse's types hold them.

    A time or date beyond the years 1900 to 2299 is null: ClickHouse would store another one, or
    refuse the whole block. A time without a zone, a time of day and nanoseconds are Avro's number.
    """
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_date32(kind):
            columns.append(_within(column, column.cast(pa.int32()), _US_A_DAY))
        elif pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit != "ns":
            columns.append(_within(column, column.cast(pa.int64()), _US[kind.unit]))
        elif pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
            columns.append(column.cast(pa.int64()))
        elif pa.types.is_time32(kind):
            columns.append(column.cast(pa.int32()))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)


def _within(column: pa.ChunkedArray, numbers: pa.ChunkedArray, unit_us: int) -> pa.ChunkedArray:
    """The column without what lies beyond; `numbers` are its values, each of `unit_us`."""
    low, high = -(-TIME_US_MIN // unit_us), TIME_US_MAX // unit_us
    good = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
    return column if pc.all(good).as_py() in (True, None) else pc.if_else(good, column, None)


def _iso_time(text: object) -> datetime | None:
    """ISO 8601 text as a time, UTC if it names no zone; what no table holds becomes null."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return time if _TIME_MIN <= time <= _TIME_MAX else None
