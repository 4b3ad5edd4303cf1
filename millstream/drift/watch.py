"""The watch of one stream: records of three topics in, drift records and incidents out.

    events ──────► a monitor of the inputs for each partition ──► windows ─┐
    predictions ─► confidence, scores ─┐                                   ├─► incidents
    labelled ────► loss ───────────────┴─► the monitor, River ──► readings ┘

What it says is a function of the logs: records are taken in an order of their own (lanes.py), cut
at exact rows (blocks.py), and every time is the events' own. Only on a live topic whose end was
reached does it depend on what came first. Its state and the offsets up to which it has taken the
topics are one snapshot; whoever restores it goes on as if nothing had happened.

A labelled record counts if it is the first answer for its event, for the version that predicted:
corrections would count an event twice, and what was never labelled says nothing about loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.drift.aligned import Aligned
from millstream.drift.blocks import Rows, units
from millstream.drift.counted import Counted
from millstream.drift.findings import InputWindow
from millstream.drift.incident import Incident, Incidents
from millstream.drift.lanes import Ints, Lanes, Piece
from millstream.drift.merged import Merged, Order
from millstream.drift.profile import PROFILE_FILE, Profile
from millstream.drift.records import DriftRecord, input_records
from millstream.drift.rivers import On
from millstream.drift.riverside import log_loss
from millstream.drift.signals import score_edges
from millstream.drift.slices import Slices
from millstream.drift.snapshot import Part, Snapshot
from millstream.drift.versions import LIBRARY, SCORE_BINS, Kind, Told, Versions
from millstream.drift.watched_inputs import EventReader, Inputs
from millstream.errors import BundleInvalid
from millstream.matching.columns import Reader
from millstream.offsets import Partition
from millstream.records import Records
from millstream.stream import Stream

_SOURCE = ["model_version", "event_time", "source_partition", "source_offset", "confidence"]
_PREDICTION: Final = [*_SOURCE, "score"]
_LABELLED: Final = [*_SOURCE, "key", "status", "label", "value", "predicted", "score"]
_RELEASE: Final = ["record", "number", "champion_version"]
_EDGES: Final = score_edges(SCORE_BINS)


@dataclass(slots=True)
class Findings:
    """What a batch led to, in order."""

    drift: list[DriftRecord] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """Rows that were taken since the start, by topic's kind, and labels that did not count."""

    events: int = 0
    predictions: int = 0
    labelled: int = 0
    uncounted: int = 0


@dataclass(frozen=True, slots=True)
class _Tick:
    """Something was completed: an input window, a block, or what a River detector raised."""

    order: Order
    what: Any
    kind: Kind | None = None
    version: str = ""


def profile_beside(stream: Stream) -> Profile | None:
    """The profile that lies in the stream's bundle; None where there is none.

    Raises BundleInvalid where it cannot be read or is of other features.
    """
    if not (stream.bundle_path / PROFILE_FILE).exists():
        return None
    profile = Profile.load(stream.bundle_path)
    if profile.names != stream.features.order:
        raise BundleInvalid(
            f"{stream.bundle_path / PROFILE_FILE} is of other features than {stream.path}",
            "Make the profile again, or take it away to learn it from the first events",
        )
    return profile


class Watch:
    """The watch of one stream: all partitions, because an incident is the stream's.

    schema_of: a writer's schema by its id. profile: of the inputs; None learns it from the first
    events. releases: whether NAME.releases is read, which says who answers; else a version counts
    as released when it answers for the first time.
    """

    def __init__(
        self,
        stream: Stream,
        schema_of: Callable[[int], str],
        profile: Profile | None,
        partitions: int | None = None,
        *,
        releases: bool = False,
    ) -> None:
        self._stream = stream
        count = partitions or stream.serving.partitions
        absent = {"events": not stream.watch.inputs, "releases": not releases}
        self._kinds = {
            stream.topic(kind): kind
            for kind in ("events", "predictions", "labelled", "releases")
            if not absent.get(kind)
        }
        self._lanes = Lanes([(topic, p) for topic in self._kinds for p in range(count)])
        ranks = {lane: rank for rank, lane in enumerate(self._lanes.held())}
        self._aligned = Aligned({k: v for k, v in ranks.items() if self._kinds[k[0]] == "labelled"})
        self._events = EventReader(stream, schema_of)
        self._predictions = Reader("prediction", _PREDICTION, schema_of)
        self._labelled = Reader("labelled", _LABELLED, schema_of)
        self._releases = Reader("release", _RELEASE, schema_of)
        self._inputs = Inputs(stream, profile)
        self._slices = Slices(stream)
        self._versions = Versions(stream, sliced=bool(self._slices))
        self._incidents = Incidents(stream.name)
        self._counted: dict[int, Counted] = {}
        self.tally = Tally()

    @property
    def topics(self) -> tuple[str, ...]:
        """What it reads."""
        return tuple(self._kinds)

    @property
    def partitions(self) -> list[Partition]:
        """What it must have all of."""
        return list(self._lanes.held())

    @property
    def open(self) -> tuple[Incident, ...]:
        """The incidents that are open now."""
        return self._incidents.open

    @property
    def is_waiting(self) -> bool:
        """Whether rows wait that `take` would release if it knew that no others come."""
        return bool(self._aligned.held) or any(self._lanes.held().values())

    def held(self) -> dict[Partition, int]:
        """Rows that came and wait for other partitions, by partition."""
        return self._lanes.held()

    def offsets(self) -> dict[Partition, int]:
        """Next offsets, as a snapshot would have them."""
        return self._lanes.offsets() | self._inputs.begun | self._aligned.begun()

    def read_to(self) -> dict[Partition, int]:
        """Offset behind everything that was taken, what waits included."""
        return self._lanes.ends()

    def take(
        self,
        batches: Iterable[Records],
        silent: Collection[Partition] = (),
        *,
        settled: bool = False,
    ) -> Findings:
        """Records behind those that were taken before; what may be said now.

        silent: partitions that were read to their end, this batch included. settled: they have
        been for a while; where all are, no label waits for another any more. Raises
        DependencyUnavailable as the registry; then nothing was taken.
        """
        read = [(records, *self._read(records)) for records in batches]
        for records, columns, rows in read:
            self._admit(records, columns, rows)
        settled = settled and all(lane in silent for lane in self.partitions)
        return self._decide(self._lanes.release(silent), self._lanes.reached(silent), settled)

    def _read(self, records: Records) -> tuple[pa.RecordBatch, Ints]:
        kind = self._kinds[records.topic]
        if kind == "events":
            return self._events.read(records.values)
        readers = {"predictions": self._predictions, "labelled": self._labelled}
        return readers.get(kind, self._releases).read(records.values)

    def _admit(self, records: Records, columns: pa.RecordBatch, rows: Ints) -> None:
        partitions = records.partitions[rows]
        for number, end in records.next_offsets().items():
            mine = partitions == number
            part = columns if mine.all() else columns.filter(pa.array(mine))
            picked = rows if mine.all() else rows[mine]
            self._lanes.add(
                (records.topic, number),
                records.offsets[picked],
                records.timestamps_us[picked],
                part,
                end,
            )

    def _decide(self, pieces: list[Piece], reached: int, settled: bool) -> Findings:
        """Count everything, then decide in the order in which things were completed."""
        by_kind: dict[str, list[Piece]] = {}
        for piece in pieces:
            by_kind.setdefault(self._kinds[piece.lane[0]], []).append(piece)
        ticks = [
            *self._of_events(by_kind.get("events", [])),
            *self._of_releases(by_kind.get("releases", [])),
            *self._of_predictions(by_kind.get("predictions", [])),
            *self._of_labelled(
                self._aligned.take(by_kind.get("labelled", []), reached, settled=settled)
            ),
        ]
        ticks.sort(key=lambda tick: tick.order)
        found = Findings()
        for tick in ticks:
            if isinstance(tick.what, DriftRecord):
                found.drift.append(tick.what)
            elif isinstance(tick.what, InputWindow):
                found.drift += input_records(self._stream.name, tick.what)
                found.incidents += self._incidents.window(tick.what)
            elif isinstance(tick.what, Told):
                released = self._versions.told(tick.what)
                if released is not None:
                    at_us = self._versions.newest_us
                    found.incidents += self._incidents.released(released, at_us)
            elif tick.kind is not None:
                decided = self._versions.decide(tick.kind, tick.version, tick.what)
                found.drift += decided.drift
                if decided.released is not None:
                    at_us = tick.what.last.time_us
                    found.incidents += self._incidents.released(decided.released, at_us)
                if decided.reading is not None:
                    found.incidents += self._incidents.loss(decided.reading)
        return found

    def _of_events(self, pieces: list[Piece]) -> Iterator[_Tick]:
        self.tally.events += sum(map(len, pieces))
        self._slices.learn(pieces)
        for piece, window in self._inputs.take(pieces):
            row = int(np.searchsorted(piece.offsets, window.last.offset))
            yield _Tick((int(piece.clocks[row]), piece.rank, window.last.offset), window)

    def _of_releases(self, pieces: list[Piece]) -> Iterator[_Tick]:
        for piece in pieces:
            for row, said in enumerate(piece.columns.to_pylist()):
                if said["record"] == "switch":
                    order = (int(piece.clocks[row]), piece.rank, int(piece.offsets[row]))
                    yield _Tick(order, Told(said["number"], said["champion_version"]))

    def _of_predictions(self, pieces: list[Piece]) -> Iterator[_Tick]:
        if not pieces:
            return
        whole = Merged.of(pieces)
        self.tally.predictions += len(whole.keys)
        whole = whole.only(np.isfinite(whole.numbers("score")))
        for version, part in whole.by_version():
            score, confidence = part.numbers("score"), part.numbers("confidence")
            bins = np.searchsorted(_EDGES, score, side="right").astype(np.int64)
            rows = part.rows(units(confidence), bins=bins)
            for end, block in self._versions.cut("predicted", version, rows):
                yield _Tick(part.order(end), block, "predicted", version)
            yield from self._river("score", version, part, rows, score)
            yield from self._river("confidence", version, part, rows, confidence)

    def _of_labelled(self, gone: tuple[pa.RecordBatch, Ints] | None) -> Iterator[_Tick]:
        if gone is None:
            return
        whole = Merged(*gone)
        self.tally.labelled += len(whole.keys)
        whole = whole.only(self._fresh(whole))
        for version, part in whole.by_version():
            errors, losses = self._losses(version, part)
            names = self._slices.names(part.columns, part.keys[:, 0])
            rows = part.rows(units(errors), names=names)
            for end, block in self._versions.cut("labelled", version, rows):
                yield _Tick(part.order(end), block, "labelled", version)
            yield from self._river("error", version, part, rows, errors)
            yield from self._river("loss", version, part, rows, losses)

    def _fresh(self, whole: Merged) -> np.ndarray[Any, Any]:
        """First answers, each source once: a join that was killed may repeat its records. What no
        model answered has no score, and counts nowhere."""
        fresh = np.asarray(pc.equal(whole.columns["status"], "labelled"))
        fresh &= np.isfinite(whole.numbers("score"))
        partitions = np.asarray(whole.columns["source_partition"])
        offsets = np.asarray(whole.columns["source_offset"])
        for number in np.unique(partitions[fresh]).tolist():
            rows = np.flatnonzero(fresh & (partitions == number))
            counted = self._counted.setdefault(number, Counted())
            fresh[rows[~counted.take(offsets[rows])]] = False
        self.tally.uncounted += int((~fresh).sum())
        return fresh

    def _losses(
        self, version: str, part: Merged
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """What the monitor takes, from 0 to 1; and the loss itself, for River."""
        if self._stream.label.kind == "regression":
            losses = np.abs(part.numbers("value") - part.numbers("score"))
            return self._versions.scaled(version, np.nan_to_num(losses)), losses
        same = pc.fill_null(pc.equal(part.columns["label"], part.columns["predicted"]), False)
        right = np.asarray(same)
        return (~right).astype(np.float64), log_loss(right, part.numbers("confidence"))

    def _river(
        self, on: On, version: str, part: Merged, rows: Rows, values: np.ndarray[Any, Any]
    ) -> Iterator[_Tick]:
        for row, name, status, value in self._versions.river.update(on, version, values):
            at = rows.position(row)
            drift = DriftRecord(
                self._stream.name, name, on, "value", status, value, at, model_version=version
            )
            yield _Tick(part.order(row), drift)

    def snapshot(self) -> Snapshot:
        """The whole state, and the offsets up to which it has taken the topics."""
        counted = {str(number): each.state() for number, each in sorted(self._counted.items())}
        parts = {
            "lanes": Part("Lanes", {}, self._clocks(), LIBRARY),
            "aligned": Part("Aligned", {}, self._aligned.state(), LIBRARY),
            "counted": Part("Counted", {}, counted, LIBRARY),
            "incidents": Part("Incidents", {}, self._incidents.state(), LIBRARY),
            "slices": Part(
                "Slices", {"fields": [*self._slices.fields]}, self._slices.state(), LIBRARY
            ),
            **self._inputs.parts(),
            **self._versions.parts(),
        }
        return Snapshot(self._stream.name, self.offsets(), parts)

    def _clocks(self) -> dict[str, int]:
        """The lanes' clocks where they will be read on."""
        return self._aligned.pinned(self._inputs.pinned(self._lanes.state()))

    def restore(self, snapshot: Snapshot) -> list[str]:
        """A watch that has taken nothing goes on as the one that was saved.

        Returns a line for people on each part that could not, because stream.toml, the profile or
        River are others than then: it begins anew.
        """
        parts: Mapping[str, Part] = snapshot.parts
        self._lanes.restore(snapshot.offsets, parts["lanes"].state)
        if "aligned" in parts:
            self._aligned.restore(parts["aligned"].state, parts["lanes"].state)
        for number, state in parts["counted"].state.items():
            self._counted[int(number)] = Counted()
            self._counted[int(number)].restore(state)
        self._incidents = Incidents.from_state(self._stream.name, parts["incidents"].state)
        if "slices" in parts and parts["slices"].params["fields"] == [*self._slices.fields]:
            self._slices.restore(parts["slices"].state)
        return [*self._inputs.restore(parts, snapshot.offsets), *self._versions.restore(parts)]
