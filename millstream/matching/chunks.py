"""The state of a partition as it is stored: its inputs, a chunk for each batch that was taken.

Everything that the state is follows from its inputs and clocks, so these are what is kept: written
once, never changed, and deleted when nothing of them matters any more. A prediction costs its own
bytes once, an outcome too; nothing is written for a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from millstream.columnar import (
    FRAME_BYTES,
    Encoder,
    arrow_schema,
    frame,
    make_decoder,
    split_frames,
)
from millstream.contracts import contract
from millstream.errors import InvariantBroken

CHUNK_BYTES_MAX: Final = 4_000_000
"""Of values; a larger batch becomes several chunks."""
_LENGTH, _TIME = np.dtype("<i4"), np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class Side:
    """Records of one topic: n values, their times in microseconds [n], the offset behind them."""

    values: Sequence[bytes]
    times: Sequence[int]
    next_offset: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was taken of one partition in one go; schemas/join_chunk.v1.avsc says the fields."""

    sequence: int
    oldest: int
    predictions: Side
    outcomes: Side
    prediction_clock: int
    outcome_clock: int

    @property
    def key(self) -> bytes:
        """Its Kafka key."""
        return b"%d" % self.sequence


class AvroChunks:
    """Framed Avro of the contract join_chunk. schema_id: the registry's id of it."""

    def __init__(self, schema_id: int) -> None:
        text = contract("join_chunk").text
        self._schema = arrow_schema(text)
        self._encoder = Encoder(text, frame(schema_id))
        self._decoder = make_decoder(text)
        self._schema_id = schema_id

    def encode(self, chunks: list[Chunk]) -> list[bytes]:
        if not chunks:
            return []
        rows = [
            {
                "sequence": chunk.sequence,
                "oldest": chunk.oldest,
                **_stored("prediction", chunk.predictions),
                **_stored("outcome", chunk.outcomes),
                "prediction_clock": chunk.prediction_clock,
                "outcome_clock": chunk.outcome_clock,
            }
            for chunk in chunks
        ]
        return self._encoder.encode(
            pa.RecordBatch.from_arrays(
                [pa.array([row[f.name] for row in rows], f.type) for f in self._schema],
                schema=self._schema,
            )
        )

    def decode(self, values: Sequence[bytes]) -> list[Chunk]:
        """Raises InvariantBroken where one is no chunk: the topic is not ours, or damaged."""
        framed = split_frames(values)
        decoded = self._decoder.decode(values, FRAME_BYTES)
        if framed.refusals or set(framed.groups) - {self._schema_id} or decoded.refusals:
            raise InvariantBroken(
                "a record of the join's state is no chunk of this version",
                "Stop every join of this stream; see what else writes to its join-state topic",
            )
        return [
            Chunk(
                row["sequence"],
                row["oldest"],
                _side("prediction", row),
                _side("outcome", row),
                row["prediction_clock"],
                row["outcome_clock"],
            )
            for row in decoded.columns.to_pylist()
        ]


def pieces(chunk: Chunk) -> Iterator[Chunk]:
    """The same as chunks of at most CHUNK_BYTES_MAX bytes or one record: predictions, then
    outcomes. Only the last has the clocks, and offsets are those of what is taken by then."""
    before = replace(chunk, prediction_clock=-(2**62), outcome_clock=-(2**62))
    nothing = Side((), (), -1)
    made = [replace(before, predictions=s, outcomes=nothing) for s in _cut(chunk.predictions)]
    made += [replace(before, predictions=nothing, outcomes=s) for s in _cut(chunk.outcomes)]
    if len(made) <= 1 or _bytes(chunk) <= CHUNK_BYTES_MAX:
        yield chunk
        return
    last = len(made) - 1
    for place, piece in enumerate(made):
        numbered = replace(piece, sequence=chunk.sequence + place)
        if place == last:
            numbered = replace(
                numbered,
                predictions=replace(
                    numbered.predictions, next_offset=chunk.predictions.next_offset
                ),
                outcomes=replace(numbered.outcomes, next_offset=chunk.outcomes.next_offset),
                prediction_clock=chunk.prediction_clock,
                outcome_clock=chunk.outcome_clock,
            )
        yield numbered


def _bytes(chunk: Chunk) -> int:
    return sum(map(len, chunk.predictions.values)) + sum(map(len, chunk.outcomes.values))


def _cut(side: Side) -> Iterable[Side]:
    """Runs of its records; their offset is told by the last piece alone."""
    start, total = 0, 0
    for place, value in enumerate(side.values):
        if place > start and total + len(value) > CHUNK_BYTES_MAX:
            yield Side(side.values[start:place], side.times[start:place], -1)
            start, total = place, 0
        total += len(value)
    if start < len(side.values):
        yield Side(side.values[start:], side.times[start:], -1)


def _stored(name: str, side: Side) -> dict[str, bytes | int]:
    lengths = np.fromiter(map(len, side.values), _LENGTH, len(side.values))
    return {
        f"{name}s": b"".join(side.values),
        f"{name}_bytes": lengths.tobytes(),
        f"{name}_times": np.asarray(side.times, _TIME).tobytes(),
        f"next_{name}": side.next_offset,
    }


def _side(name: str, row: dict[str, bytes | int]) -> Side:
    joined, lengths, times = (row[f"{name}{part}"] for part in ("s", "_bytes", "_times"))
    assert isinstance(joined, bytes) and isinstance(lengths, bytes) and isinstance(times, bytes)
    ends = np.cumsum(np.frombuffer(lengths, _LENGTH), dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]
    values = [joined[start:end] for start, end in zip(starts, ends, strict=False)]
    next_offset = row[f"next_{name}"]
    assert isinstance(next_offset, int)
    return Side(values, np.frombuffer(times, _TIME).tolist(), next_offset)
