"""Which segments drifted: e-values of each, and e-BH over all of them.

e-BH (Wang, Ramdas 2022) names segments so that the expected share of wrong names stays below
`rate`, whatever the dependence between them: segments may overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millstream.drift.evidence import Evidence
from millstream.drift.state import packed, unpacked

SEGMENTS_MAX: Final = 1_000
"""Segments that are followed. New ones beyond are not: they are counted as unknown."""


def e_bh(e_values: Mapping[str, float], rate: float = 0.1) -> list[str]:
    """The names whose null is rejected at the false-discovery rate, strongest first.

    >>> e_bh({"a": 40.0, "b": 1.0, "c": 25.0, "d": 0.2}, rate=0.1)
    ['a', 'c']
    """
    ordered = sorted(e_values, key=lambda name: (-e_values[name], name))
    total = len(ordered)
    last = 0
    for place, name in enumerate(ordered, 1):
        if place * e_values[name] >= total / rate:
            last = place
    return ordered[:last]


@dataclass(frozen=True, slots=True)
class SegmentDrift:
    """A segment that drifted: error shares before and after, and how many of its events ago."""

    segment: str
    e_value: float
    before: float
    after: float
    since_events: int


class Segments:
    """Errors of each slice or partition of one model version.

    Its e-values are about the time since `restart` (an incident's end, a release).
    """

    def __init__(self, block_events: int = 8) -> None:
        self.block_events = block_events
        self._evidence: dict[str, Evidence] = {}
        self.unknown = 0
        """Events of segments beyond the bound."""

    def take(self, segment: str, errors: float, events: int, at_us: int = 0) -> None:
        """Count a batch of one segment, such as "region=north"."""
        evidence = self._evidence.get(segment)
        if evidence is None:
            if len(self._evidence) >= SEGMENTS_MAX:
                self.unknown += events
                return
            evidence = self._evidence[segment] = Evidence(block_events=self.block_events)
        if events:
            evidence.update((errors, events - errors), 1e-6, float(at_us))

    def drifted(self, rate: float = 0.1) -> list[SegmentDrift]:
        """Those that changed, at a false-discovery rate; strongest first."""
        e_values = {name: each.e_value for name, each in self._evidence.items()}
        made = []
        for name in e_bh(e_values, rate):
            change = self._evidence[name].change()
            made.append(
                SegmentDrift(
                    name,
                    e_values[name],
                    change.before[0],
                    change.after[0],
                    int(change.since_events),
                )
            )
        return made

    def restart(self) -> None:
        """Begin anew: what is known of each segment is forgotten."""
        self._evidence.clear()
        self.unknown = 0

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "block_events": self.block_events,
            "unknown": self.unknown,
            "segments": {name: _small(each.state()) for name, each in self._evidence.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Segments:
        """Go on from `state()` to the same bit."""
        made = cls(state["block_events"])
        made.unknown = state["unknown"]
        for name, saved in state["segments"].items():
            made._evidence[name] = Evidence(block_events=made.block_events)
            table = saved["table"]
            if isinstance(table, Mapping):  # older states have plain numbers
                table = unpacked(table)["table"]
            made._evidence[name].restore({**saved, "table": table})
        return made


def _small(state: dict[str, Any]) -> dict[str, Any]:
    """SEGMENTS_MAX of them must fit a record: as plain numbers they are of 11 MB."""
    return {**state, "table": packed({"table": np.array(state["table"])})}
