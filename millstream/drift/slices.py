"""Which slice a labelled prediction is of, by the fields of its event.

A labelled record carries its event's key and no other field. So the watch keeps, of the newest
events of each partition, a code for each field in `watch.slices`; a label whose event is older than
these, or came after it, is of no known slice of these fields. What counts as newest is told by the
order of lanes.py, so that neither batches nor restarts change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.drift.lanes import Ints, Piece
from millstream.drift.state import packed, unpacked
from millstream.stream import Stream

EVENTS_HELD: Final = 65_536
"""Of a partition. Too low knows no slice of a late label; too high makes the state large: 2 bytes
a field before compression."""
VALUES_MAX: Final = 1_000
"""Of a field that are told apart, the first that came. Each is a slice."""
SPAN: Final = 1 << 20
"""Offsets that are kept for those events at most: behind a gap, such as what retention removed, the
events before it are forgotten."""
NONE: Final = -1
Codes = npt.NDArray[np.int16]


class _Partition:
    """codes: int16 [fields, n] of the events from offset `base` on; NONE for a value without a
    code and an offset without an event. clocks, offsets: of the events that came last; before: the
    newest one before them."""

    def __init__(self, fields: int) -> None:
        self.base = 0
        self.codes: Codes = np.empty((fields, 0), np.int16)
        self.clocks: Ints = np.empty(0, np.int64)
        self.offsets: Ints = np.empty(0, np.int64)
        self.before = -1

    @property
    def newest(self) -> int:
        return int(self.offsets[-1]) if len(self.offsets) else self.before

    def add(self, piece: Piece, codes: Codes, held: int) -> None:
        """Events behind those that it has, or some of these again."""
        self.before = self.newest
        self.clocks, self.offsets = piece.clocks, piece.offsets
        end = int(piece.offsets[-1]) + 1
        base = max(self.base, self.before + 1 - held, end - held - SPAN)
        if not self.codes.shape[1]:
            base = max(base, int(piece.offsets[0]))
        width = max(end, self.base + self.codes.shape[1]) - base
        whole = np.full((len(codes), width), NONE, np.int16)
        kept = self.codes[:, base - self.base :] if base > self.base else self.codes
        whole[:, : kept.shape[1]] = kept
        rows = piece.offsets >= base
        whole[:, piece.offsets[rows] - base] = codes[:, rows]
        self.base, self.codes = base, whole

    def look(self, field: int, offsets: Ints, moments: Ints, held: int) -> Codes:
        """The codes of these events, as they were known at these clocks."""
        passed = np.searchsorted(self.clocks, moments, side="right")
        newest = np.full(len(offsets), self.before)
        newest[passed > 0] = self.offsets[passed[passed > 0] - 1]
        known = (offsets <= newest) & (offsets > newest - held) & (offsets >= self.base)
        found = np.full(len(offsets), NONE, np.int16)
        found[known] = self.codes[field, offsets[known] - self.base]
        return found


class Slices:
    """The slices of one stream. fields: what is looked up; left_out: what is not, as the events
    are not read."""

    def __init__(self, stream: Stream, held: int = EVENTS_HELD) -> None:
        wanted = [name for name in stream.watch.slices if name != stream.event.key]
        self._key = stream.event.key if stream.event.key in stream.watch.slices else None
        self.fields = tuple(wanted) if stream.watch.inputs else ()
        self.left_out = () if stream.watch.inputs else tuple(wanted)
        self._held = held
        self._names: list[list[str]] = [[] for _ in self.fields]
        self._places: list[dict[str, int]] = [{} for _ in self.fields]
        self._partitions: dict[int, _Partition] = {}

    def __bool__(self) -> bool:
        return bool(self.fields or self._key)

    def learn(self, pieces: Sequence[Piece]) -> None:
        """Remember which slices these events are of."""
        for piece in pieces if self.fields else ():
            if len(piece):
                made = [self._coded(n, piece.columns[name]) for n, name in enumerate(self.fields)]
                known = self._partitions.setdefault(piece.lane[1], _Partition(len(made)))
                known.add(piece, np.stack(made), self._held)

    def _coded(self, field: int, values: pa.Array) -> Codes:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        coded = values.cast(pa.string()).dictionary_encode()
        places = self._places[field]
        codes = [NONE]
        for value in coded.dictionary.to_pylist():
            if value not in places and len(places) < VALUES_MAX:
                places[value] = len(places)
                self._names[field].append(f"{self.fields[field]}={value}")
            codes.append(places.get(value, NONE))
        rows = np.asarray(pc.fill_null(coded.indices, -1)) + 1
        made: Codes = np.array(codes, np.int16)[rows]
        return made

    def names(self, labelled: pa.RecordBatch, moments: Ints) -> list[list[str]] | None:
        """A list of names for each field, one a row, empty where it is not known; None where there
        are no slices. labelled: with source_partition, source_offset and key. moments: the clocks
        by which they are released, ascending."""
        if not self:
            return None
        made = []
        if self._key is not None:
            made.append([f"{self._key}={value}" for value in labelled["key"].to_pylist()])
        partitions = np.asarray(labelled["source_partition"])
        offsets = np.asarray(labelled["source_offset"])
        for field, names in enumerate(self._names):
            codes = np.full(len(offsets), NONE, np.int16)
            for number in np.unique(partitions).tolist():
                mine = partitions == number
                known = self._partitions.get(number)
                if known is not None:
                    codes[mine] = known.look(field, offsets[mine], moments[mine], self._held)
            texts = [*names, ""]  # NONE is the last one
            made.append([texts[code] for code in codes.tolist()])
        return made

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "names": self._names,
            "partitions": {
                str(number): [known.newest, packed({"codes": self._kept(known)})]
                for number, known in sorted(self._partitions.items())
            },
        }

    def _kept(self, known: _Partition) -> Codes:
        """What is still looked up, and no more: the same whatever the batches were."""
        return known.codes[:, max(known.newest + 1 - self._held - known.base, 0) :]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()` of the same fields."""
        self._names = [list(names) for names in state["names"]]
        self._places = [{name.partition("=")[2]: n for n, name in enumerate(names)}
                        for names in self._names]  # fmt: skip
        for number, (newest, codes) in state["partitions"].items():
            known = self._partitions[int(number)] = _Partition(len(self.fields))
            known.codes, known.before = unpacked(codes)["codes"], newest
            known.base = newest + 1 - known.codes.shape[1]
