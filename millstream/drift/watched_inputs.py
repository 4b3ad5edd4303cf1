"""The events' side of the watch: decode, learn a profile if there is none, watch each partition."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar import ByWriter
from millstream.drift.findings import InputWindow
from millstream.drift.inputs import InputMonitor, InputRules
from millstream.drift.lanes import Piece, merged
from millstream.drift.profile import Profile, ProfileLearner
from millstream.drift.slices import Slices
from millstream.drift.snapshot import Part
from millstream.offsets import Partition
from millstream.stream import Stream

_LIBRARY: Final = "millstream 1"
SCHEMA_ID: Final = "kafka_schema_id"
TIME_US: Final = "kafka_event_time_us"
"""Columns beside the features; the prefix is kept from event fields."""


class EventReader(ByWriter):
    """Values of a stream's events as features, slices, time and schema id; what it leaves out are
    dead letters."""

    def __init__(self, stream: Stream, schema_of: Callable[[int], str]) -> None:
        self._time = stream.event.time
        fields = (*stream.features.order, stream.event.time, *Slices(stream).fields)
        wanted = list(dict.fromkeys(fields))
        super().__init__(stream.schema_of_event.text, wanted, schema_of, self._timed)

    def _timed(self, columns: pa.RecordBatch, schema_id: int) -> pa.RecordBatch:
        time = columns.column(self._time)
        scale = 1_000 if time.type.unit == "ms" else 1
        times_us = time.view(pa.int64()).to_numpy(zero_copy_only=False) * scale
        ids = pa.array(np.full(len(columns), schema_id, np.int64))
        columns = columns.append_column(TIME_US, pa.array(times_us))
        return columns.append_column(SCHEMA_ID, ids)


class Inputs:
    """The input monitors of all partitions.

    Without a profile the first events make one, and are not watched themselves. Until then the
    state is where they begin (`begun`): a restart reads them again.
    """

    def __init__(self, stream: Stream, profile: Profile | None) -> None:
        self._stream = stream
        watch = stream.watch
        self._rules = InputRules(watch.window_events, int(watch.window_s * 1_000_000))
        self._given = profile
        self._profile = profile
        self._monitors: dict[int, InputMonitor] = {}
        self.begun: dict[Partition, int] = {}
        self._begin()

    def _begin(self) -> None:
        self._learned = 0
        self._learner = ProfileLearner(
            self._stream.name,
            self._stream.features.order,
            self._stream.watch.profile_events,
            self._stream.features.categories,
        )

    def take(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, InputWindow]]:
        """The windows that these rows complete, each with the piece that completed it."""
        if self._profile is None and pieces:
            pieces = self._learn(pieces)
        for piece in pieces:
            if not len(piece):
                continue
            for window in self._monitor(piece.lane[1]).add(
                piece.columns,
                piece.offsets,
                np.asarray(piece.columns.column(TIME_US)),
                np.asarray(piece.columns.column(SCHEMA_ID)),
            ):
                yield piece, window

    def _learn(self, pieces: Sequence[Piece]) -> list[Piece]:
        """What is left of the pieces once the profile is made of the first rows."""
        for piece in pieces:
            self.begun.setdefault(piece.lane, int(piece.offsets[0]))
        columns, _, ranks, _ = merged(pieces)
        wanted = max(self._stream.watch.profile_events - self._learned, 0)
        self._learned += len(columns)
        self._profile = self._learner.add(columns)
        if self._profile is None:
            return []
        self.begun.clear()
        used = ranks[:wanted]
        return [p.cut(int((used == p.rank).sum()), len(p)) for p in pieces]

    def _monitor(self, partition: int) -> InputMonitor:
        if partition not in self._monitors:
            assert self._profile is not None, "there is no profile yet"
            self._monitors[partition] = InputMonitor(self._profile, partition, self._rules)
        return self._monitors[partition]

    def pinned(self, clocks: dict[str, int]) -> dict[str, Any]:
        """The lanes' clocks without those of lanes that will be read again: rank i is the i-th
        partition of the events, which come first."""
        again = {str(number) for _, number in self.begun}
        return {rank: clock for rank, clock in clocks.items() if rank not in again}

    def parts(self) -> dict[str, Part]:
        """Everything that changes."""
        if self._profile is None:
            return {}
        made = {}
        if self._given is None:
            whole = self._profile.model_dump(mode="json")
            made["profile"] = Part("Profile", {}, whole, _LIBRARY)
        params = self._params()
        for number, monitor in sorted(self._monitors.items()):
            made[f"inputs/{number}"] = Part("InputMonitor", params, monitor.state(), _LIBRARY)
        return made

    def restore(self, parts: Mapping[str, Part], offsets: Mapping[Partition, int]) -> list[str]:
        """Go on from `parts()`; a line for people where the inputs' watch begins anew."""
        if "profile" in parts and self._given is None:
            self._profile = Profile.model_validate(parts["profile"].state)
        if self._profile is None:
            topic = self._stream.topic("events")
            self.begun = {lane: at for lane, at in offsets.items() if lane[0] == topic}
            return []
        saved = {name: part for name, part in parts.items() if name.startswith("inputs/")}
        params = self._params()
        for name, part in saved.items():
            if part.params != params:
                return ["the inputs' watch begins anew: its windows or its profile are others"]
            self._monitor(int(name.partition("/")[2])).restore(part.state)
        return []

    def _params(self) -> dict[str, Any]:
        assert self._profile is not None, "there is no profile yet"
        digest = hashlib.sha256(self._profile.model_dump_json().encode()).hexdigest()
        return {
            "window_events": self._rules.window_events,
            "window_us": self._rules.window_us,
            "profile": digest,
        }
