"""Batches of Kafka values to labelled records: decode, meet (state.py), encode.

take(predictions, outcomes) ─► labelled records, and the chunks that make the next worker know
                               what this one knows; both are written together, then the offsets
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.errors import InvariantBroken
from millstream.matching.chunks import AvroChunks, Chunk, Side, pieces
from millstream.matching.columns import Reader, labelled
from millstream.matching.state import BEFORE_ALL, Counts, Emitted, PartitionState, Truth
from millstream.records import TIME_US_MAX, TIME_US_MIN, Records
from millstream.stream import LabelKind

HELD_MAX = 1_000_000
"""Predictions held of one partition, and outcomes that wait for theirs."""
LABEL_BYTES_MAX = 1_024
_EMPTY = Side((), (), -1)


@dataclass(slots=True)
class Joined:
    """What a batch came to, to be made durable before its offsets are committed.

    partitions, keys, values: of the labelled records, parallel. state: (partition, key, value) of
    records of the join-state topic; a value of None deletes one.
    """

    partitions: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    state: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)


class _Lane:
    """One partition: its state, its place in both logs, its chunks that still matter."""

    def __init__(self, wait_us: int, held_max: int) -> None:
        self.state = PartitionState(wait_us, held_max)
        self.next_prediction = -1
        self.next_outcome = -1
        self.sequence = 0
        self.chunks: deque[tuple[int, int]] = deque()  # sequence, time up to which it matters

    def feed(self, predictions: _Read, outcomes: _Read) -> tuple[Side, Side]:
        """Take both; what of them must be stored, with the times by the clocks.

        A repeated prediction must not: once the chunk of the first one is gone, it would be one.
        """
        state = self.state
        p_times = _clocked(predictions.times, state.prediction_clock)
        o_times = _clocked(outcomes.times, state.outcome_clock)
        repeated = state.predict(predictions.ids, predictions.values, p_times)
        state.learn(outcomes.ids, outcomes.truths, outcomes.known, o_times)
        values = predictions.values
        if repeated:
            kept = sorted(set(range(len(values))) - set(repeated))
            values, p_times = [values[row] for row in kept], [p_times[row] for row in kept]
        return (
            Side(values, p_times, predictions.next_offset),
            Side(outcomes.values, o_times, outcomes.next_offset),
        )

    def keep(self, chunk: Chunk) -> None:
        """It is stored. Two waits and a recall later nothing can meet it, nor what it met."""
        state = self.state
        latest = max(state.prediction_clock, state.outcome_clock)
        self.chunks.append((chunk.sequence, latest + 2 * state.wait_us + state.recall_us))
        self.sequence = chunk.sequence + 1
        self.next_prediction = max(self.next_prediction, chunk.predictions.next_offset)
        self.next_outcome = max(self.next_outcome, chunk.outcomes.next_offset)

    @property
    def oldest(self) -> int:
        """The oldest chunk that matters; the next one if none does."""
        return self.chunks[0][0] if self.chunks else self.sequence

    def retire(self) -> range:
        """Forget the chunks that matter no more, by the clocks as they are; their sequences."""
        first = self.oldest
        passed = min(self.state.prediction_clock, self.state.outcome_clock)
        while self.chunks and self.chunks[0][1] < passed:
            self.chunks.popleft()
        return range(first, self.oldest)


@dataclass(frozen=True, slots=True)
class _Read:
    """Decoded records of one partition; truths and known of outcomes alone."""

    ids: list[str]
    values: list[bytes]
    times: list[int]
    next_offset: int
    truths: list[Truth]
    known: list[int]


_NOTHING = _Read([], [], [], -1, [], [])


class Matcher:
    """The join of the partitions that were restored.

    kind: what outcomes say. wait_us: how long one may take. schema_of: a writer's schema by its id.
    labelled_id, chunk_id: the registry's ids of these contracts. held_max: see state.py.
    """

    def __init__(
        self,
        kind: LabelKind,
        wait_us: int,
        schema_of: Callable[[int], str],
        labelled_id: int,
        chunk_id: int,
        held_max: int = HELD_MAX,
    ) -> None:
        self._kind = kind
        self._wait_us = wait_us
        self._held_max = held_max
        self._chunks = AvroChunks(chunk_id)
        self._predictions = Reader("prediction", ["event_id"], schema_of)
        self._outcomes = Reader("outcome", ["event_id", "label", "value", "known_at"], schema_of)
        whole = list(arrow_schema(contract("prediction").text).names)
        self._whole = Reader("prediction", whole, schema_of)
        text = contract("labelled").text
        self._schema = arrow_schema(text)
        self._encoder = Encoder(text, frame(labelled_id))
        self._lanes: dict[int, _Lane] = {}

    @property
    def partitions(self) -> frozenset[int]:
        """Those that were restored and not forgotten."""
        return frozenset(self._lanes)

    @property
    def held(self) -> int:
        """Predictions and outcomes in memory, of all partitions."""
        return sum(lane.state.held + lane.state.waiting for lane in self._lanes.values())

    def offsets(self, partition: int) -> tuple[int, int]:
        """Next prediction and next outcome to read; -1 where none was ever taken."""
        lane = self._lanes[partition]
        return lane.next_prediction, lane.next_outcome

    def forget(self, partition: int) -> None:
        """The partition is no longer ours, or what is known of it was not made durable."""
        self._lanes.pop(partition, None)

    def restore(self, partition: int, values: Iterable[bytes]) -> int:
        """Take the partition on as its stored chunks say, in any order; the number of chunks.

        values: of the state's records that were not deleted. Raises InvariantBroken where one is
        no chunk, or one that matters is missing; DependencyUnavailable as the registry.
        """
        lane = _Lane(self._wait_us, self._held_max)
        found = {chunk.sequence: chunk for chunk in self._chunks.decode(list(values))}
        last = max(found, default=-1)
        needed = range(found[last].oldest, last + 1) if found else range(0)
        for sequence in needed:
            if sequence not in found:
                raise InvariantBroken(
                    f"the join's state of partition {partition} lacks chunk {sequence}: "
                    "records of its topic were deleted by another than the join",
                    "See docs/JOIN.md, 'The join lost its state'; its topic must be compacted, "
                    "without a retention time",
                )
        chunks = [found[sequence] for sequence in needed]
        for chunk in chunks:
            read = [
                self._read(reader, side)
                for reader, side in (
                    (self._predictions, chunk.predictions),
                    (self._outcomes, chunk.outcomes),
                )
            ]
            lane.feed(*read)
            lane.state.move_clocks(chunk.prediction_clock, chunk.outcome_clock)
            lane.state.settle()
            lane.state.emitted.clear()
            lane.keep(chunk)
        lane.state.counts = Counts()
        self._lanes[partition] = lane
        return len(chunks)

    def take(
        self,
        predictions: Records | None,
        outcomes: Records | None,
        predictions_silent: Iterable[int] = (),
        outcomes_silent: Iterable[int] = (),
    ) -> Joined:
        """Join a batch of restored partitions.

        Records below `offsets` were taken before and are passed over. *_silent: partitions of that
        topic that were read to their end, this batch included: their time goes on with the other's.
        Raises DependencyUnavailable as the registry; then nothing was taken.
        """
        joined = Joined()
        left = self._split(self._predictions, predictions, joined.counts)
        right = self._split(self._outcomes, outcomes, joined.counts)
        quiet = (frozenset(predictions_silent), frozenset(outcomes_silent))
        emitted: list[tuple[int, Emitted]] = []
        known = (quiet[0] | quiet[1]) & self._lanes.keys()
        for partition in sorted(left.keys() | right.keys() | known):
            lane = self._lanes[partition]
            chunks, gone = self._advance(
                lane,
                left.get(partition, _NOTHING),
                right.get(partition, _NOTHING),
                partition in quiet[0],
                partition in quiet[1],
            )
            for chunk, value in zip(chunks, self._chunks.encode(chunks), strict=True):
                joined.state.append((partition, chunk.key, value))
            joined.state += [(partition, b"%d" % sequence, None) for sequence in gone]
            emitted += [(partition, each) for each in lane.state.emitted]
            lane.state.emitted.clear()
            joined.counts.add(lane.state.counts)
            lane.state.counts = Counts()
        self._encode(emitted, joined)
        return joined

    def _advance(
        self,
        lane: _Lane,
        predictions: _Read,
        outcomes: _Read,
        predictions_silent: bool,
        outcomes_silent: bool,
    ) -> tuple[list[Chunk], range]:
        """Take one partition's records and move its clocks; the chunks of it, and those that
        matter no more."""
        state = lane.state
        before = (state.prediction_clock, state.outcome_clock)
        left, right = lane.feed(predictions, outcomes)
        clocks = (state.prediction_clock, state.outcome_clock)
        state.move_clocks(
            clocks[1] if predictions_silent else BEFORE_ALL,
            clocks[0] if outcomes_silent else BEFORE_ALL,
        )
        state.settle()
        moved = before != (state.prediction_clock, state.outcome_clock)
        if not (predictions.next_offset >= 0 or outcomes.next_offset >= 0 or moved):
            return [], range(0)
        gone = lane.retire()
        whole = Chunk(
            lane.sequence,
            lane.oldest,
            left,
            right,
            state.prediction_clock,
            state.outcome_clock,
        )
        made = list(pieces(whole))
        for chunk in made:
            lane.keep(chunk)
        return made, gone

    def _split(self, reader: Reader, records: Records | None, counts: Counts) -> dict[int, _Read]:
        """The records of each partition that were not taken before."""
        if records is None:
            return {}
        is_prediction = reader is self._predictions
        fresh = np.ones(len(records), bool)
        for partition in np.unique(records.partitions).tolist():
            place = self.offsets(partition)[0 if is_prediction else 1]
            fresh &= (records.partitions != partition) | (records.offsets >= place)
        values = records.values if fresh.all() else _blanked(records.values, fresh)
        columns, rows = reader.read(values)
        if not is_prediction:
            good = self._usable(columns)
            columns, rows = columns.filter(pa.array(good)), rows[good]
        refused = int(fresh.sum()) - len(rows)
        if is_prediction:
            counts.predictions_refused += refused
        else:
            counts.outcomes_refused += refused
        found = {}
        for partition in np.unique(records.partitions[fresh]).tolist():
            mine = records.partitions[rows] == partition
            last = records.offsets[fresh & (records.partitions == partition)].max()
            part = columns if mine.all() else columns.filter(pa.array(mine))
            picked = rows[mine]
            found[partition] = self._as_read(
                part,
                [records.values[row] or b"" for row in picked.tolist()],
                records.timestamps_us[picked].tolist(),
                int(last) + 1,
            )
        return found

    def _read(self, reader: Reader, side: Side) -> _Read:
        """A stored side; it was found good before it was stored."""
        if not side.values:
            return _NOTHING
        columns, rows = reader.read(side.values)
        assert len(rows) == len(side.values), (len(rows), len(side.values))
        return self._as_read(columns, list(side.values), list(side.times), side.next_offset)

    def _as_read(
        self, columns: pa.RecordBatch, values: list[bytes], times: list[int], next_offset: int
    ) -> _Read:
        ids = columns.column("event_id").to_pylist()
        if "label" not in columns.schema.names:
            return _Read(ids, values, times, next_offset, [], [])
        truths: list[Truth]
        if self._kind == "regression":
            truths = [(None, value) for value in columns.column("value").to_pylist()]
        else:
            truths = [(label, None) for label in columns.column("label").to_pylist()]
        known = columns.column("known_at").cast(pa.int64()).to_pylist()
        return _Read(ids, values, times, next_offset, truths, known)

    def _usable(self, outcomes: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Which outcomes say what the stream's labels are, and could be stored."""
        known = np.asarray(outcomes.column("known_at").cast(pa.int64()))
        good: npt.NDArray[np.bool_] = (known >= TIME_US_MIN) & (known <= TIME_US_MAX)
        if self._kind == "regression":
            value = outcomes.column("value")
            good &= np.asarray(pc.fill_null(pc.is_finite(value), False))
            return good
        size = pc.fill_null(pc.binary_length(outcomes.column("label")), LABEL_BYTES_MAX + 1)
        good &= np.asarray(size) <= LABEL_BYTES_MAX
        return good

    def _encode(self, emitted: list[tuple[int, Emitted]], joined: Joined) -> None:
        """The labelled records of what was emitted, in its order."""
        if not emitted:
            return
        columns, rows = self._whole.read([each[0] for _, each in emitted])
        assert len(rows) == len(emitted), (len(rows), len(emitted))
        joined.partitions = [partition for partition, _ in emitted]
        joined.keys = [key.encode() for key in columns.column("key").to_pylist()]
        joined.values = self._encoder.encode(
            labelled(columns, [each for _, each in emitted], self._schema)
        )


def _blanked(values: Sequence[bytes | None], fresh: npt.NDArray[np.bool_]) -> list[bytes | None]:
    return [value if keep else None for value, keep in zip(values, fresh.tolist(), strict=True)]


def _clocked(times: list[int], clock: int) -> list[int]:
    """Each record's time: the highest timestamp up to it."""
    if not times:
        return times
    stamps = np.asarray(times, np.int64)
    found: list[int] = np.maximum(np.maximum.accumulate(stamps), clock).tolist()
    return found
