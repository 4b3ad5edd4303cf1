"""Counts: what the hot path keeps."""

from __future__ import annotations

import numpy as np

from millstream.drift.signals import (
    Counts,
    Signal,
    count_labelled,
    count_predictions,
    counts_for,
    score_edges,
)


def test_predictions_are_counted_by_bin() -> None:
    """A score at an edge is in the bin above; one at 1 is in the last."""
    counts = count_predictions(
        np.array([0.5, 1.0, 0.75]), np.array([0.0, 0.25, 1.0]), score_edges(4)
    )
    assert counts == Counts(predicted=3, confidence=2.25, scores=[1, 1, 0, 1])


def test_labels_are_counted_as_errors_or_losses() -> None:
    """Booleans, or anything between 0 and 1."""
    assert count_labelled(np.array([True, False, True])) == Counts(labelled=3, errors=2.0)
    assert count_labelled(np.array([0.5, 0.25])) == Counts(labelled=2, errors=0.75)


def test_counts_add_up_however_they_were_split() -> None:
    """Over batches and partitions."""
    scores = np.random.default_rng(1).random(100)
    whole = count_predictions(None, scores, score_edges())
    parts = Counts()
    for start in range(0, 100, 7):
        parts.add(count_predictions(None, scores[start : start + 7], score_edges()))
    assert parts == whole


def test_a_batch_without_labels_says_nothing_about_errors() -> None:
    """And one without predictions nothing about scores."""
    predictions = count_predictions(np.array([0.5]), np.array([0.5]), score_edges(2))
    assert counts_for(Signal.ERROR, predictions) == ()
    assert counts_for(Signal.CONFIDENCE, predictions) == (0.5, 0.5)
    assert counts_for(Signal.SCORES, predictions) == (0.0, 1.0)
    assert counts_for(Signal.SCORES, count_labelled(np.array([True]))) == ()
