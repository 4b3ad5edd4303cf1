"""One cause and the evidence for it: what an incident is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from millstream.drift.findings import LossReading, Position
from millstream.drift.verdict import Verdict, verdict

MOVED = "moved"
_SMOOTH = 0.4
"""Weight of a reading. Too low resolves late; too high resolves on a lucky reading."""
Stage = Literal["waiting", "open", "closed"]
Key = tuple[str, str, int]
"""Kind of sign or MOVED, feature or detail, partition."""


@dataclass(slots=True)
class Item:
    """One sign, or one feature that moved, in one partition. quiet: windows without it so far."""

    first: Position
    value: float
    reference: float
    detail: str = ""
    quiet: int = 0


@dataclass(slots=True)
class Loss:
    """That loss rose. smooth: the rate over the last few readings; peak: the most of that.

    quiet: readings in a row after which it is back.
    """

    first: Position
    rate: float
    reference: float
    smooth: float
    peak: float
    signal: str
    detector: str
    model_version: str
    slices: list[str]
    quiet: int = 0

    def follow(self, rate: float) -> None:
        """Take the next reading's rate."""
        self.rate = rate
        self.smooth += _SMOOTH * (rate - self.smooth)
        self.peak = max(self.peak, self.smooth)


@dataclass(slots=True)
class Case:
    """The evidence that belongs together. It waits, is opened once, and closes.

    labels: of events at or behind `first`. windows: judged by the partition of `first`, since.
    told, told_us: what people were told last, and when (event time). closed_us: when it closed.
    """

    first: Position
    stage: Stage = "waiting"
    items: dict[Key, Item] = field(default_factory=dict)
    loss: Loss | None = None
    labels: int = 0
    windows: int = 0
    id: str = ""
    cause: str = ""
    revision: int = 0
    told: tuple[str, ...] = ()
    told_us: int = 0
    closed_us: int = 0

    @property
    def pipe(self) -> bool:
        """Whether there are signs of a broken pipe."""
        return any(kind != MOVED for kind, _, _ in self.items)

    @property
    def inputs(self) -> bool:
        """Whether any feature moved."""
        return any(kind == MOVED for kind, _, _ in self.items)

    @property
    def verdict(self) -> Verdict:
        """By all of the evidence, past and present."""
        return verdict(pipe=self.pipe, inputs=self.inputs, loss=self.loss is not None)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what showed a sign or moved; of the signs alone where there are any."""
        wanted = [key for key in self.items if (key[0] != MOVED) == self.pipe]
        named = [key[1] for key in wanted if not key[0].endswith("_change") or _is_unit(key)]
        return tuple(sorted(set(named)))

    @property
    def slices(self) -> tuple[str, ...]:
        """Where loss rose, if the monitor named any."""
        return tuple(sorted(self.loss.slices)) if self.loss else ()

    def first_cause(self) -> str:
        """A short stable word: the earliest sign's kind, or inputs, or loss."""
        signs = [(item.first, key[0]) for key, item in self.items.items() if key[0] != MOVED]
        if signs:
            return min(signs)[1]
        return "inputs" if self.inputs else "loss"

    def calm(self, quiet_windows: int, quiet_readings: int) -> bool:
        """Whether none of the evidence is there any more."""
        return all(item.quiet >= quiet_windows for item in self.items.values()) and (
            self.loss is None or self.loss.quiet >= quiet_readings
        )

    def raised(self, reading: LossReading) -> None:
        """The monitor is alarmed."""
        if self.loss is None:
            self.loss = Loss(
                reading.onset or reading.first,
                reading.rate,
                reading.reference,
                reading.rate,
                reading.rate,
                reading.signal,
                reading.detector,
                reading.model_version,
                sorted(set(reading.slices)),
            )
        loss = self.loss
        loss.quiet = 0
        loss.follow(reading.rate)
        loss.slices = sorted({*loss.slices, *reading.slices})

    def evidence(self) -> dict[str, str]:
        """Names and measurements as text, for people and the topic."""
        made = {"labels": str(self.labels), "windows": str(self.windows)}
        for (kind, feature, _), item in sorted(self.items.items()):
            name = f"{kind}:{feature}" if feature else kind
            made[name] = f"{item.value:.6g} against {item.reference:.6g}" + (
                f" ({item.detail})" if item.detail and item.detail != feature else ""
            )
        if self.loss:
            loss = self.loss
            made["loss"] = f"{loss.rate:.6g} against {loss.reference:.6g}"
            made["loss_peak"] = f"{loss.peak:.6g}"
            made["signal"] = f"{loss.signal} by {loss.detector}"
            made["model_version"] = loss.model_version
        return made

    def state(self) -> dict[str, Any]:
        """As JSON."""
        made = asdict(self)
        made["items"] = [[list(key), asdict(item)] for key, item in self.items.items()]
        return made

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Case:
        """What `state` said."""
        values = dict(state)
        values["first"] = Position(**state["first"])
        values["told"] = tuple(state["told"])
        values["items"] = {
            (key[0], key[1], key[2]): Item(**{**item, "first": Position(**item["first"])})
            for key, item in state["items"]
        }
        if state["loss"] is not None:
            values["loss"] = Loss(**{**state["loss"], "first": Position(**state["loss"]["first"])})
        return cls(**values)


def _is_unit(key: Key) -> bool:
    return key[0] == "unit_change"
