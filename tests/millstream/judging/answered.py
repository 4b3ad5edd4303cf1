"""Two models' answers to the same events, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from millstream.judging.pairs import Pairs
from millstream.models.reference import ModelReference
from millstream.performance.answers import LABELLED, Answers
from millstream.performance.metrics import Classes, Floats

CLASSES = Classes(("no", "yes"), 1)
SECOND_US = 1_000_000


def reference(version: str) -> ModelReference:
    """A model called m."""
    return ModelReference("m", version, "sha256:" + version * 64)


def answers(
    chances: Floats,
    truth: Any,
    *,
    latency_ms: float = 20.0,
    slices: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
) -> Answers:
    """Answers of a binary model, a second apart. chances: [n] of yes; truth: [n] 0, 1 or 2, which
    is none of the labels."""
    n = len(chances)
    at = np.arange(n, dtype=np.int64) * SECOND_US
    return Answers(
        "m",
        CLASSES,
        at,
        at,
        at + round(latency_ms * 1_000),
        np.full(n, LABELLED, np.int64),
        at + SECOND_US,
        np.asarray(truth, np.int64),
        (chances >= 0.5).astype(np.int64),
        np.column_stack((1 - chances, chances)),
        np.zeros(n),
        np.zeros(n),
        slices or {},
        groups or {},
    )


def values(said: Floats, truth: Floats) -> Answers:
    """Answers of a regression."""
    n = len(said)
    at = np.arange(n, dtype=np.int64) * SECOND_US
    empty = np.zeros(n, np.int64)
    return Answers(
        "m", None, at, at, at + 1_000, np.full(n, LABELLED, np.int64), at, empty, empty,
        np.zeros((n, 0)), truth, said,
    )  # fmt: skip


def pairs(rows: int, errors: tuple[float, float], seed: int = 0, **both: Any) -> Pairs:
    """Champion and challenger with these error rates; each is sure of what it says. Half of an
    error's chance is shared."""
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=rows)
    common = random.random(rows)
    sides = []
    for rate in errors:
        wrong = np.where(random.random(rows) < 0.5, common, random.random(rows)) < rate
        said = np.where(wrong, 1 - truth, truth)
        sides.append(answers(np.where(said == 1, 0.8, 0.2), truth, **both))
    return Pairs(sides[0], sides[1])
