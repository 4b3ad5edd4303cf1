"""From a batch of Kafka values to a batch of encoded predictions, column by column.

frame -> decode -> validate -> score -> encode. A row that one step refuses takes no part in the
next; its neighbours do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.decoding import Decoded, EventDecoder, SchemaOf
from millstream.errors import Refusal
from millstream.lineup import Answering, Beside, Lineup
from millstream.models.bundle import Bundle
from millstream.models.overload import LadderSession
from millstream.models.session import Scored
from millstream.records import Records
from millstream.shadows import ShadowEncoder
from millstream.stream import Stream

Clock = Callable[[], int]
"""Microseconds since 1970, UTC."""
_CONSTANTS = ("model", "model_version", "model_digest", "source_topic", "answered_by")
"""Fields of a prediction that are the same in all of a batch: they are encoded once. The last may
differ from row to row."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of a batch of n records: each row is in `rows` or in `refusals`, never both.

    rows: int64 [m], ascending. predictions: m framed Avro values. refusals: the n - m others.
    schema_ids: int64 [n], -1 where there was none.
    answered: mark of the prediction contract -> how many rows were answered so.
    models: those that answered; empty: the plan's. model_of: int64 [m], for each prediction which
    of them; None: the first. shadow_rows: int64 [s]. shadows: s values of what did not answer.
    """

    rows: npt.NDArray[np.int64]
    predictions: list[bytes]
    refusals: tuple[Refusal, ...]
    schema_ids: npt.NDArray[np.int64]
    answered: dict[str, int]
    models: tuple[Bundle, ...] = ()
    model_of: npt.NDArray[np.int64] | None = None
    shadow_rows: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    shadows: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """Predictions of one model, as in Answers."""

    rows: npt.NDArray[np.int64]
    values: list[bytes]
    answered: dict[str, int]


class ScoringPlan:
    """Everything that scoring one stream needs, prepared once.

    bundle, session: what answers where no lineup is given. schema_of: how to find a writer's
    schema. clock: the time of scoring. prediction_schema_id, shadow_schema_id: the registry's ids
    of the two contracts; without the second only the champion answers, and nobody scores beside.
    Raises ContractMismatch where the event schema and the bundle do not fit.
    """

    def __init__(
        self,
        stream: Stream,
        bundle: Bundle,
        session: Answering,
        schema_of: SchemaOf,
        prediction_schema_id: int,
        clock: Clock,
        shadow_schema_id: int | None = None,
    ) -> None:
        self._stream = stream
        self._alone = Lineup(session)
        self._decoder = EventDecoder(stream, schema_of)
        self._clock = clock
        self._beside = Beside(clock)
        self._shadows = None
        if shadow_schema_id is not None:
            self._shadows = ShadowEncoder(stream, shadow_schema_id)
        self._prefix = frame(prediction_schema_id)
        whole = arrow_schema(contract("prediction").text)
        self._schema = pa.schema([field for field in whole if field.name not in _CONSTANTS])
        self._marked = self._schema.append(whole.field("answered_by"))
        self._kinds = {field.name: field.type for field in self._schema}
        # topic, mark, version, digest
        self._encoders: dict[tuple[str, str | None, str, str], Encoder] = {}
        self._encoder(stream.topic("events"), "full", bundle)

    def run(self, records: Records, lineup: Lineup | None = None) -> Answers:
        """Score the batch. Raises DependencyUnavailable where the registry does not answer.

        lineup: the models of the release that answers it.
        """
        lineup = lineup or self._alone
        decoded = self._decoder.read(records)
        rows, refusals = decoded.rows, decoded.refusals
        champion = lineup.champion
        if isinstance(champion, LadderSession):
            champion.observe(*_waited(records, self._clock()))
        scored = champion.score(decoded.columns)
        if lineup.is_alone or self._shadows is None:
            refusals += [replace(r, row=int(rows[r.row])) for r in scored.refusals]
            bundle = scored.bundle or champion.bundle
            part = self._predictions(decoded, scored, self._clock(), bundle)
            return Answers(
                part.rows,
                part.values,
                tuple(refusals),
                decoded.schema_ids,
                part.answered,
                (bundle,),
            )
        return self._together(decoded, lineup, scored)

    def _together(self, decoded: Decoded, lineup: Lineup, champion: Scored) -> Answers:
        """Champion, challenger and shadows on the same decoded batch."""
        assert self._shadows is not None
        records, columns, rows = decoded.records, decoded.columns, decoded.rows
        keys = [records.keys[row] for row in rows.tolist()]
        voices = self._beside.answers(lineup, columns, keys, champion)
        now = self._clock()
        parts = [
            self._predictions(decoded, voice.scored, now, voice.bundle)
            for voice in voices
            if not voice.role
        ]
        refusals = [replace(r, row=int(rows[r.row])) for r in voices[0].scored.refusals]
        said = [voice for voice in voices if voice.role]
        said += self._beside.shadows(lineup, columns)
        beside = [
            self._shadows.values(voice, lineup.number, columns, rows, records, now)
            for voice in said
        ]
        found = np.concatenate([part.rows for part in parts])
        order = np.argsort(found)
        values = [value for part in parts for value in part.values]
        answered: dict[str, int] = {}
        for part in parts:
            for mark, count in part.answered.items():
                answered[mark] = answered.get(mark, 0) + count
        return Answers(
            found[order],
            [values[place] for place in order.tolist()],
            (*decoded.refusals, *refusals),
            decoded.schema_ids,
            answered,
            tuple(voice.bundle for voice in voices if not voice.role),
            np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])[order],
            np.concatenate([shadow_rows for shadow_rows, _ in beside] or [found[:0]]),
            [value for _, shadow_values in beside for value in shadow_values],
        )

    def _predictions(self, decoded: Decoded, scored: Scored, now: int, bundle: Bundle) -> _Part:
        """The predictions of what one model answered."""
        columns, rows, records = decoded.columns, decoded.rows, decoded.records
        if len(scored.rows) != len(rows):
            columns, rows = columns.take(pa.array(scored.rows)), rows[scored.rows]
        batch = self._columns(columns, rows, scored, records, decoded.schema_ids, now)
        mark = scored.answered_by if isinstance(scored.answered_by, str) else None
        encoder = self._encoder(records.topic, mark, bundle)
        return _Part(rows, encoder.encode(batch), _counted(scored))

    def _columns(
        self,
        columns: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        scored: Scored,
        records: Records,
        schema_ids: npt.NDArray[np.int64],
        now: int,
    ) -> pa.RecordBatch:
        """The columns of the prediction contract."""
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
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        arrays.append(scored.answered_by)
        return pa.RecordBatch.from_arrays(arrays, schema=self._marked)

    def _encoder(self, topic: str, mark: str | None, bundle: Bundle) -> Encoder:
        """The one for events of this topic, all answered so; None: each row says how."""
        known = self._encoders.get((topic, mark, bundle.version, bundle.digest))
        if known is None:
            values = (bundle.name, bundle.version, bundle.digest, topic, mark)
            constants = dict(zip(_CONSTANTS, values, strict=True))
            if mark is None:
                del constants["answered_by"]
            known = Encoder(contract("prediction").text, self._prefix, constants=constants)
            self._encoders[topic, mark, bundle.version, bundle.digest] = known
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


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """pyarrow takes 10 µs to cast to the same type."""
    return column if column.type == kind else pc.cast(column, kind)
