"""What the monitor listens to, as counts: errors, confidence, and where the scores lie.

Counts add up: over batches, partitions and workers. They are all that the hot path keeps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millstream.drift.evidence import Evidence

Floats = npt.NDArray[np.float64]

CONFIDENCE_FLOOR: Final = 0.01
"""Confidences scatter far less than coins; how little is learnt, down to this share."""


class Signal(StrEnum):
    """One kind of evidence."""

    ERROR = "error"  # wrong predictions, or losses in [0, 1]: needs labels
    CONFIDENCE = "confidence"  # mean confidence of the predictions, up or down
    SCORES = "scores"  # shares of the scores' bins


WEIGHTS: Final = {Signal.ERROR: 0.5, Signal.CONFIDENCE: 0.25, Signal.SCORES: 0.25}
"""Shares of the false-alarm budget; an average of e-detectors is one, however dependent."""


@dataclass(slots=True)
class Counts:
    """What happened to the events of one model version in one batch (and partition).

    labelled, errors: events whose outcome is known, and how many were wrong (or the sum of their
    losses in [0, 1]). predicted, confidence: predictions, and the sum of their confidences.
    scores: predictions by bin of their score; empty where scores are not watched.
    """

    labelled: int = 0
    errors: float = 0.0
    predicted: int = 0
    confidence: float = 0.0
    scores: list[int] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Both together."""
        self.labelled += other.labelled
        self.errors += other.errors
        self.predicted += other.predicted
        self.confidence += other.confidence
        if not self.scores:
            self.scores = list(other.scores)
        elif other.scores:
            self.scores = [a + b for a, b in zip(self.scores, other.scores, strict=True)]


def count_labelled(errors: npt.NDArray[Any]) -> Counts:
    """Counts of labelled predictions: bool [n], True is wrong; or float [n], losses in [0, 1]."""
    return Counts(labelled=len(errors), errors=float(errors.sum()))


def count_predictions(confidence: Floats | None, scores: Floats, edges: Floats) -> Counts:
    """Counts of predictions.

    confidence: float64 [n] in [0, 1], or None. scores: float64 [n]. edges: ascending float64
    [bins - 1]; a score equal to an edge is in the bin above it.
    """
    places = np.searchsorted(edges, scores, side="right")
    return Counts(
        predicted=len(scores),
        confidence=0.0 if confidence is None else float(confidence.sum()),
        scores=np.bincount(places, minlength=len(edges) + 1).tolist(),
    )


def score_edges(bins: int = 10) -> Floats:
    """Edges of equal bins of probabilities.

    >>> score_edges(4).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.arange(1, bins) / bins


def evidence_for(signal: Signal, bins: int, block_events: int) -> Evidence:
    """The e-detector of one signal."""
    if signal is Signal.SCORES:
        return Evidence(bins, block_events=block_events)
    floor = CONFIDENCE_FLOOR if signal is Signal.CONFIDENCE else 1.0
    return Evidence(2, floor, block_events)


def counts_for(signal: Signal, counts: Counts) -> tuple[float, ...]:
    """Counts of the signal's categories; empty where the batch says nothing about it."""
    if signal is Signal.ERROR:
        errors, total = counts.errors, counts.labelled
    elif signal is Signal.CONFIDENCE:
        errors, total = counts.confidence, counts.predicted
    else:
        return tuple(map(float, counts.scores))
    return (errors, total - errors) if total else ()
