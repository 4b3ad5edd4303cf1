"""What the watch finds, as plain values: between the detectors, the incidents and the topics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from millstream.drift.profile import Floats, Ints

SignKind = Literal[
    "nulls", "stuck_value", "unit_change", "vanished_category", "schema_change", "producer_change"
]
"""What a broken pipe shows itself by."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where and when: an event's partition and offset, and its time in microseconds."""

    time_us: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A feature whose values are now others than in the windows before, and no known normal.

    distance: Jensen-Shannon (bits) from the windows before, or the share of the window that is
    where none was; threshold: what it had to exceed.
    """

    feature: str
    first: Position
    distance: float
    threshold: float
    psi: float


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of a broken pipe. value and reference in the kind's own unit (share, run, factor).

    feature: empty for a schema or producer change; detail: the category, schema id or producer.
    """

    kind: SignKind
    feature: str
    first: Position
    value: float
    reference: float
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InputWindow:
    """One judged window of events of one partition.

    psi, js, ks: float [f] against the profile, in the order of `names`; context, no alarm. ks is
    NaN for categories. moved, signs: what is the case now, not only what is new. came_alive:
    features that were constant in the reference and are not any more: no alarm, the model has
    learned nothing from them.
    """

    first: Position
    last: Position
    events: int
    names: tuple[str, ...]
    psi: Floats
    js: Floats
    ks: Floats
    nulls: Ints
    unseen: Ints
    moved: tuple[Moved, ...] = ()
    signs: tuple[Sign, ...] = ()
    came_alive: tuple[str, ...] = ()
    judged: bool = True
    """False while the watch still learns how much windows differ from each other."""


@dataclass(frozen=True, slots=True)
class LossReading:
    """What the monitor says of the loss of labelled predictions, after a window of them.

    first, last: of the events whose labels these are. labels: how many. rate: their mean loss;
    reference: what it was before the change, or is held to be. raised: the monitor is alarmed.
    onset: where it holds the change to be, on an alarm. slices: those that it concerns.
    """

    first: Position
    last: Position
    labels: int
    rate: float
    reference: float
    raised: bool
    onset: Position | None = None
    signal: str = "error"
    detector: str = "monitor"
    model_version: str = ""
    slices: tuple[str, ...] = field(default=())
