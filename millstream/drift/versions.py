"""The loss and the predictions of each model version: counted, watched, turned into readings.

Two steps, so that nothing depends on how records came together. `labelled` and `predicted` only
count: rows are cut into blocks of an exact length, each with the row that completed it. `decide`
takes the blocks of all versions in the order of those rows, and asks the monitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from millstream.drift.blocks import ONE, Block, Cutter, Marks, Rows
from millstream.drift.findings import LossReading, Position
from millstream.drift.monitor import INVOLVED, VERSIONS_MAX, Alarm, Monitor, MonitorSettings
from millstream.drift.records import DriftRecord
from millstream.drift.riverside import Riverside
from millstream.drift.segments import Segments
from millstream.drift.signals import Counts, Signal
from millstream.drift.snapshot import Part
from millstream.stream import Stream

LABELLED_BLOCK: Final = 32
"""Labels that the monitor takes at a time. Too low costs time; too high is late."""
PREDICTED_BLOCK: Final = 128
READING_LABELS: Final = 256
"""Labels between two readings of the loss. Too low ends incidents by chance; too high late."""
GONE_BLOCKS: Final = 8
"""Blocks of others' predictions after which the champion no longer answers."""
SCORE_BINS: Final = 10
_SIGNALS = {Signal.ERROR: "error", Signal.CONFIDENCE: "confidence", Signal.SCORES: "score"}
Kind = Literal["labelled", "predicted"]


@dataclass(frozen=True, slots=True)
class Decided:
    """What one block led to."""

    drift: tuple[DriftRecord, ...] = ()
    reading: LossReading | None = None
    released: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A partition has switched to the release of this number, whose champion is this version."""

    number: int
    champion: str


class _Version:
    """One model version. before: labels since the last alarm, without those of `reading`."""

    def __init__(self, bins: int) -> None:
        self.labelled = Cutter(LABELLED_BLOCK)
        self.predicted = Cutter(PREDICTED_BLOCK, bins)
        self.reading, self.before = Block(), Block()
        self.marks = Marks()
        self.clock = {"labelled": 0, "predicted": 0}
        self.turn = 0
        self.scale_rows, self.scale_sum = 0, 0.0

    def state(self) -> dict[str, Any]:
        return {
            "labelled": self.labelled.state(),
            "predicted": self.predicted.state(),
            "reading": self.reading.state(),
            "before": self.before.state(),
            "marks": self.marks.state(),
            "clock": self.clock,
            "turn": self.turn,
            "scale": [self.scale_rows, self.scale_sum],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.labelled.restore(state["labelled"])
        self.predicted.restore(state["predicted"])
        self.reading = Block.from_state(state["reading"])
        self.before = Block.from_state(state["before"])
        self.marks = Marks.from_state(state["marks"])
        self.clock, self.turn = dict(state["clock"]), state["turn"]
        self.scale_rows, self.scale_sum = state["scale"]


class Versions:
    """All model versions of a stream. sliced: whether rows carry names of slices."""

    def __init__(self, stream: Stream, *, sliced: bool = False) -> None:
        self._stream = stream.name
        number = stream.label.kind == "regression"
        self.settings = MonitorSettings(
            stream.watch.false_alarms_per_week,
            score_bins=0 if number else SCORE_BINS,
            confidence=not number,
        )
        self.river = Riverside(stream.watch.detectors)
        self._monitor = Monitor(self.settings)
        self._segments = Segments() if sliced else None
        self._known: dict[str, _Version] = {}
        self._turn = 0
        self._champion = ""
        self._former: set[str] = set()
        self._absent = 0  # blocks of others since the champion's last
        self._number = 0  # of the newest release that was told of
        self.newest_us = 0
        """Time of the newest event among the blocks that were decided."""

    def cut(self, kind: Kind, version: str, rows: Rows) -> Iterator[tuple[int, Block]]:
        """Count rows of one version; the blocks that they complete, with the completing row."""
        known = self._version(version)
        return (known.labelled if kind == "labelled" else known.predicted).cut(rows)

    def scaled(self, version: str, errors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Losses from 0 to 1 of absolute errors: e / (e + m), m the mean of the version's first
        READING_LABELS. While these are collected their losses are 0.5, which says nothing."""
        known = self._version(version)
        made = np.full(len(errors), 0.5)
        start = min(max(READING_LABELS - known.scale_rows, 0), len(errors))
        for error in errors[:start].tolist():  # one by one: a sum does not depend on the batch
            known.scale_sum += error
        known.scale_rows += start
        middle = max(known.scale_sum / max(known.scale_rows, 1), 1e-300)
        made[start:] = errors[start:] / (errors[start:] + middle)
        return made

    def decide(self, kind: Kind, version: str, block: Block) -> Decided:
        """Take a finished block. Blocks come in the order of the rows that completed them."""
        known = self._version(version)
        self._turn += 1
        known.turn = self._turn
        assert block.first is not None and block.last is not None, "a block of nothing"
        known.clock[kind] = max(known.clock[kind], block.last.time_us)
        at_us = known.clock[kind]
        self.newest_us = max(self.newest_us, at_us)
        released = None
        if kind == "labelled":
            counts = Counts(labelled=block.count, errors=block.total / ONE)
            known.marks.add(at_us, block.first)
            known.reading.merge(block)
            self._slice(version, block, at_us)
        else:
            released = self._answered(version)
            confidence = block.total / ONE if self.settings.confidence else 0.0
            counts = Counts(predicted=block.count, confidence=confidence, scores=block.bins)
        alarm = self._monitor.take(version, counts, at_us)
        drift = [] if alarm is None else [self._alarmed(alarm, block.last)]
        reading = None
        if alarm is not None and _hurts(alarm, known):
            reading = self._raised(alarm, known, block)
        elif known.reading.count >= READING_LABELS:
            reading = self._read(version, known)
        if reading is not None:
            drift.append(self._measured(reading))
        return Decided(tuple(drift), reading, released)

    def _version(self, name: str) -> _Version:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= VERSIONS_MAX:
                silent = min(self._known, key=lambda each: self._known[each].turn)
                del self._known[silent]
                self.river.forget(silent)
            known = self._known[name] = _Version(self.settings.score_bins)
            known.turn = self._turn
        return known

    def _answered(self, version: str) -> str | None:
        """Notice a release: a version that is new, or that answers while the champion does not."""
        if self._number:  # a canary answers too: who is the champion is told
            return None
        if version == self._champion:
            self._absent = 0
            return None
        self._absent += 1
        if version in self._former and self._absent < GONE_BLOCKS:
            return None
        return self._crown(version)

    def told(self, switch: Told) -> str | None:
        """A switch, in the order of the logs: the champion that it brings, if it is another one."""
        if switch.number <= self._number:
            return None
        self._number = switch.number
        return None if switch.champion == self._champion else self._crown(switch.champion)

    def _crown(self, version: str) -> str | None:
        """None for the first one: nothing was released before it."""
        first = not self._champion
        self._champion, self._absent = version, 0
        self._former.add(version)
        self._monitor.released(version)
        if self._segments is not None:
            self._segments.restart()
        return None if first else version

    def _slice(self, version: str, block: Block, at_us: int) -> None:
        if self._segments is None or version != self._champion:
            return
        for name in sorted(block.slices):
            events, total = block.slices[name]
            self._segments.take(name, total / ONE, events, at_us)

    def _raised(self, alarm: Alarm, known: _Version, block: Block) -> LossReading:
        window = known.reading if known.reading.count else known.before
        assert block.first is not None and block.last is not None, "a block of nothing"
        slices: tuple[str, ...] = ()
        if self._segments is not None and alarm.live:
            slices = tuple(drifted.segment for drifted in self._segments.drifted())
            self._segments.restart()
        by_error = alarm.cause is Signal.ERROR
        made = LossReading(
            first=window.first or block.first,
            last=window.last or block.last,
            labels=known.reading.count,
            rate=alarm.after[0] if by_error else window.rate,
            reference=alarm.before[0] if by_error else known.before.rate,
            raised=True,
            onset=known.marks.at(alarm.since_us) or block.first,
            signal=_SIGNALS[alarm.cause],
            model_version=alarm.version,
            slices=slices,
        )
        known.reading, known.before = Block(), Block()
        return made

    def _read(self, version: str, known: _Version) -> LossReading:
        window = known.reading
        assert window.first is not None and window.last is not None, "a reading of nothing"
        made = LossReading(
            first=window.first,
            last=window.last,
            labels=window.count,
            rate=window.rate,
            reference=known.before.rate if known.before.count else window.rate,
            raised=False,
            model_version=version,
        )
        known.before.merge(window)
        known.reading = Block()
        return made

    def _alarmed(self, alarm: Alarm, at: Position) -> DriftRecord:
        signal, version = _SIGNALS[alarm.cause], alarm.version
        return DriftRecord(
            self._stream, "monitor", signal, "evidence", "alarm", alarm.level, at, 1.0,
            model_version=version,
        )  # fmt: skip

    def _measured(self, reading: LossReading) -> DriftRecord:
        status: Literal["alarm", "reading"] = "alarm" if reading.raised else "reading"
        return DriftRecord(
            self._stream, "monitor", "error", "rate", status, reading.rate, reading.last,
            model_version=reading.model_version,
        )  # fmt: skip

    def parts(self) -> dict[str, Part]:
        """Everything that changes."""
        state = {
            "known": {name: known.state() for name, known in self._known.items()},
            "turn": self._turn,
            "champion": self._champion,
            "former": sorted(self._former),
            "absent": self._absent,
            "number": self._number,
            "newest_us": self.newest_us,
            "segments": None if self._segments is None else self._segments.state(),
        }
        sizes = {"labelled": LABELLED_BLOCK, "predicted": PREDICTED_BLOCK}
        return {
            "versions": Part("Versions", sizes, state, LIBRARY),
            "monitor": Part("Monitor", asdict(self.settings), self._monitor.state(), LIBRARY),
            **self.river.parts(),
        }

    def restore(self, parts: Mapping[str, Part]) -> list[str]:
        """Go on from `parts()`; what could not, as a line for people each."""
        state = parts["versions"].state
        for name, saved in state["known"].items():
            self._known[name] = _Version(self.settings.score_bins)
            self._known[name].restore(saved)
        self._turn, self._champion = state["turn"], state["champion"]
        self._former, self._absent = set(state["former"]), state["absent"]
        self._number, self.newest_us = state.get("number", 0), state.get("newest_us", 0)
        if self._segments is not None and state["segments"] is not None:
            self._segments = Segments.from_state(state["segments"])
        notes = self.river.restore(parts)
        monitor = parts["monitor"]
        if monitor.params == asdict(self.settings):
            self._monitor = Monitor.from_state(monitor.state)
        else:
            self._monitor.released(self._champion)
            notes.append("the monitor begins anew: its settings are others than before")
        return notes


LIBRARY: Final = "millstream 1"
"""Format of our own states in a snapshot."""


def _hurts(alarm: Alarm, known: _Version) -> bool:
    """Whether an alarm is about a loss that rose: a fall, or confidence alone, is no incident."""
    level = sum(alarm.evidence.values())
    if alarm.evidence.get(Signal.ERROR.value, 0.0) < INVOLVED * level:
        return False
    if alarm.cause is Signal.ERROR:
        return alarm.after[0] > alarm.before[0]
    return known.reading.count > 0 and known.reading.rate > known.before.rate
