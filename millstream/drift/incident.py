"""One incident per cause: opened once, updated when the picture changes, resolved when it is calm.

Evidence comes from judged input windows and from readings of the loss. Evidence whose beginnings
lie close together has one cause and makes one case:

    waiting ──► open ──► closed        a loss that begins where a closed case did belongs to it,
       └──────────────────► closed     however late its labels came

A sign of a broken pipe opens at once. A loss waits until the input windows over its beginning are
judged; moved inputs wait until labels have come, because the verdict is only then known. Times are
the events' own; nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from millstream.drift.case import MOVED, Case, Item, Key
from millstream.drift.findings import InputWindow, LossReading, Position
from millstream.drift.verdict import Verdict

Status = Literal["opened", "updated", "resolved"]
_CLOSED_MAX = 16
_ENDS_MAX = 8


@dataclass(frozen=True, slots=True)
class IncidentRules:
    """When a case opens, what belongs to it, and when it is over."""

    settle_windows: int = 3
    """Input windows over the beginning of a loss before "inputs did not move" is believed."""
    labels_min: int = 200
    """Labels since inputs moved before "loss did not" is believed. Too low judges too soon."""
    patience_windows: int = 20
    """Moved inputs are told without labels after so many windows."""
    join_windows: int = 5
    """Beginnings so many windows apart are one cause. Too low doubles; too high mixes causes."""
    quiet_windows: int = 3
    """Windows without a sign, or with the inputs back, until that part is over."""
    quiet_readings: int = 2
    """Readings of the loss that are back, in a row, until it is over."""
    loss_back: float = 0.5
    """Share of the rise that may be left when loss counts as back. Below 1: hysteresis."""
    again_windows: int = 10
    """The same sign so soon after the end is the same incident."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One revision of an incident, as schemas/incident.v1.avsc has it."""

    id: str
    stream: str
    verdict: Verdict
    status: Status
    cause: str
    features: tuple[str, ...]
    slices: tuple[str, ...]
    first: Position
    updated_us: int
    evidence: dict[str, str]
    revision: int


def incident_id(stream: str, cause: str, first: Position) -> str:
    """The same incident has the same id wherever it is computed: 32 hexadecimal digits."""
    text = "\0".join((stream, cause, str(first.partition), str(first.offset)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Incidents:
    """The cases of one stream. Every call gives the revisions that it made, in order."""

    def __init__(self, stream: str, rules: IncidentRules | None = None) -> None:
        self._stream = stream
        self._rules = rules or IncidentRules()
        self._cases: list[Case] = []
        self._ends: dict[int, list[int]] = {}
        self._span_us = 0
        self._superseded: set[str] = set()

    def window(self, window: InputWindow) -> list[Incident]:
        """Take a judged window of one partition; windows of a partition come in their order."""
        partition = window.first.partition
        self._span_us = max(window.last.time_us - window.first.time_us, 1)
        ends = self._ends.setdefault(partition, [])
        ends.append(window.last.time_us)
        del ends[:-_ENDS_MAX]
        seen: set[Key] = set()
        for sign in window.signs:
            key: Key = (sign.kind, sign.feature or sign.detail, partition)
            item = Item(sign.first, sign.value, sign.reference, sign.detail)
            seen.add(self._take(key, item))
        for moved in window.moved:
            key = (MOVED, moved.feature, partition)
            seen.add(self._take(key, Item(moved.first, moved.distance, moved.threshold)))
        for case in self._cases:
            if partition == case.first.partition and window.last.time_us > case.first.time_us:
                case.windows += 1
            for key, item in case.items.items():
                if key[2] == partition and key not in seen:
                    item.quiet += 1
        return list(self._decide(window.last.time_us))

    def loss(self, reading: LossReading) -> list[Incident]:
        """Take what the monitor says after a window of labelled predictions."""
        for case in self._cases:
            if reading.last.time_us >= case.first.time_us:
                case.labels += reading.labels
        if reading.raised:
            self._raise(reading)
        for case in self._cases:
            if case.loss is not None and not reading.raised:
                self._ease(case, reading)
        return list(self._decide(reading.last.time_us))

    def released(self, version: str, at_us: int) -> list[Incident]:
        """Another model version answers from now on: its own labels say whether loss is back."""
        self._superseded.discard(version)
        for case in self._cases:
            if case.loss is not None and case.loss.model_version != version:
                self._superseded.add(case.loss.model_version)
        return list(self._decide(at_us))

    @property
    def open(self) -> tuple[Incident, ...]:
        """The incidents that are open now, as they were last told."""
        cases = [case for case in self._cases if case.stage == "open"]
        return tuple(self._made(case, "updated", case.told_us) for case in cases)

    def _take(self, key: Key, item: Item) -> Key:
        case = self._case_of(key, item.first)
        if case is None:
            case = self._new(item.first)
        known = case.items.get(key)
        if known is None:
            case.items[key] = item
        else:
            known.value, known.quiet = item.value, 0
        if case.stage == "closed":
            case.stage = "open" if case.id else "waiting"
        return key

    def _case_of(self, key: Key, first: Position) -> Case | None:
        """The case that this sign or moved feature belongs to: the newest that fits."""
        again_us = self._rules.again_windows * self._span_us
        for case in reversed(self._cases):
            for kind, feature, _ in case.items:
                same = (kind, feature) == key[:2]
                if same and (case.stage != "closed" or first.time_us <= case.closed_us + again_us):
                    return case
            if self._near(case, first):
                return case
        return None

    def _near(self, case: Case, first: Position) -> bool:
        slack = self._rules.join_windows * self._span_us
        return abs(first.time_us - case.first.time_us) <= slack

    def _raise(self, reading: LossReading) -> None:
        onset = reading.onset or reading.first
        found = None
        slack = self._rules.join_windows * self._span_us
        for case in reversed(self._cases):
            running = case.stage != "closed" and (
                case.loss is not None or any(item.quiet == 0 for item in case.items.values())
            )
            again = (
                case.stage == "closed"
                and case.loss is not None
                and onset.time_us <= case.closed_us + self._rules.again_windows * self._span_us
            )
            after = onset.time_us >= case.first.time_us - slack
            if self._near(case, onset) or ((running or again) and after):
                found = case
                break
        if found is None:
            if reading.model_version in self._superseded:
                return  # late labels of a model that no longer answers open nothing
            found = self._new(onset)
            found.labels = reading.labels
            ends = self._ends.get(onset.partition, [])
            found.windows = sum(end > onset.time_us for end in ends)
        found.raised(reading)
        if found.stage == "closed":
            found.stage = "open" if found.id else "waiting"

    def _ease(self, case: Case, reading: LossReading) -> None:
        loss = case.loss
        assert loss is not None, "no loss to ease"
        replaced = loss.model_version in self._superseded
        if reading.model_version != loss.model_version and not replaced:
            return
        if reading.model_version == loss.model_version:
            loss.follow(reading.rate)
        rise = loss.peak - loss.reference
        back = loss.smooth <= loss.reference + self._rules.loss_back * rise
        # a new model is held to its own reference: it is calm if it is not alarmed
        calm = back or (replaced and reading.model_version != loss.model_version)
        loss.quiet = loss.quiet + 1 if calm else 0

    def _new(self, first: Position) -> Case:
        case = Case(first)
        self._cases.append(case)
        closed = [old for old in self._cases if old.stage == "closed"]
        for old in closed[: max(len(closed) - _CLOSED_MAX, 0)]:
            self._cases.remove(old)
        return case

    def _decide(self, now_us: int) -> Iterator[Incident]:
        rules = self._rules
        for case in self._cases:
            if case.stage == "waiting" and self._known(case):
                case.stage = "open"
                case.cause = case.first_cause()
                case.id = incident_id(self._stream, case.cause, case.first)
                yield self._tell(case, "opened", now_us)
            elif case.stage == "open" and case.told != self._picture(case):
                yield self._tell(case, "updated", now_us)
            if case.stage != "closed" and case.calm(rules.quiet_windows, rules.quiet_readings):
                if case.stage == "open":
                    yield self._tell(case, "resolved", now_us)
                case.stage, case.closed_us = "closed", now_us

    def _known(self, case: Case) -> bool:
        """Whether the evidence is enough for a verdict."""
        rules = self._rules
        if case.pipe or (case.inputs and case.loss is not None):
            return True
        if case.loss is not None:
            return not self._ends or case.windows >= rules.settle_windows
        settled = case.windows >= rules.settle_windows and case.labels >= rules.labels_min
        return settled or case.windows >= rules.patience_windows

    def _picture(self, case: Case) -> tuple[str, ...]:
        return (case.verdict, *case.features, "", *case.slices)

    def _tell(self, case: Case, status: Status, now_us: int) -> Incident:
        case.revision += 1
        case.told = self._picture(case)
        case.told_us = now_us
        return self._made(case, status, now_us)

    def _made(self, case: Case, status: Status, now_us: int) -> Incident:
        return Incident(
            id=case.id,
            stream=self._stream,
            verdict=case.verdict,
            status=status,
            cause=case.cause,
            features=case.features,
            slices=case.slices,
            first=case.first,
            updated_us=now_us,
            evidence=case.evidence(),
            revision=case.revision,
        )

    def state(self) -> dict[str, Any]:
        """Everything, as JSON: for a snapshot."""
        return {
            "cases": [case.state() for case in self._cases],
            "ends": [[partition, ends] for partition, ends in self._ends.items()],
            "span_us": self._span_us,
            "superseded": sorted(self._superseded),
        }

    @classmethod
    def from_state(
        cls, stream: str, state: Mapping[str, Any], rules: IncidentRules | None = None
    ) -> Incidents:
        """Go on from `state()`."""
        made = cls(stream, rules)
        made._cases = [Case.from_state(case) for case in state["cases"]]
        made._ends = {partition: list(ends) for partition, ends in state["ends"]}
        made._span_us = state["span_us"]
        made._superseded = set(state["superseded"])
        return made
