"""What a performance report is made of: one version's answers as columns, and what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np

from millstream.performance import estimate
from millstream.performance.metrics import Classes, Floats, Ints
from millstream.performance.windows import Names
from millstream.stream import FairnessTable

WAITING, LABELLED, NEVER = 0, 1, 2
"""What became of an answer: no label yet, a label, none within the stream's outcome wait."""
MATURE_SHARE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Answers:
    """One model version's answers in the order in which they were scored; all [n].

    classes: None for regression. status: WAITING, LABELLED or NEVER. known_us: when its first label
    became known, where LABELLED. truth, predicted: class numbers (`classes.count` for a label that
    is none of them); raw: [n, k] probabilities. true_value, value: regression. slices, groups:
    field -> names. Times in µs.
    """

    version: str
    classes: Classes | None
    event_us: Ints
    published_us: Ints
    scored_us: Ints
    status: Ints
    known_us: Ints
    truth: Ints
    predicted: Ints
    raw: Floats
    true_value: Floats
    value: Floats
    slices: Mapping[str, Names] = field(default_factory=dict)
    groups: Mapping[str, Names] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_us)

    def first(self, count: int) -> Answers:
        """So many of them, from the beginning."""
        cut: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.ndarray):
                cut[each.name] = value[:count]
            elif isinstance(value, Mapping):
                cut[each.name] = {name: names[:count] for name, names in value.items()}
        return replace(self, **cut)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the report is about. now_us: when it is made. wait_us: how long an outcome may take.
    width_us: of a window; None chooses one. favourable: the good label where it is not the positive
    one. A window is mature when mature_share of its labels is in."""

    now_us: int
    wait_us: int
    width_us: int | None = None
    false_positive: float = 1.0
    false_negative: float = 1.0
    matrix: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fairness: FairnessTable = field(default_factory=FairnessTable)
    mature_share: float = MATURE_SHARE
    options: estimate.Options = field(default_factory=estimate.Options)
