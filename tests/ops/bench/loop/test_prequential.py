"""What answers, what is known when, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

from millstream.retraining.challenge import Ranges
from ops.bench.loop.contenders import CONTENDERS, EVERY, FROZEN, OURS
from ops.bench.loop.models import Models
from ops.bench.loop.prequential import no_change, run
from ops.bench.loop.streams import Stream


def flipping(rows: int = 4_000, change: int = 2_000) -> Stream:
    """The label is whether the first number is above a half; behind the change, below it."""
    drawn = np.random.default_rng(5).random((rows, 2))
    labels = (drawn[:, 0] > 0.5).astype(np.int64)
    labels[change:] = 1 - labels[change:]
    return Stream("flipping", drawn, labels, ("a", "b"), (change,))


class Told:
    """Remembers what it was told."""

    def __init__(self, models: Models) -> None:
        self.seen: list[tuple[int, int]] = []
        self._ranges: Ranges = ((0, models.stream.warm_up),)

    def step(self, labelled: int, answered: int) -> Ranges:
        self.seen.append((labelled, answered))
        return self._ranges


@pytest.mark.parametrize("delay", [0, 300])
def test_no_label_is_known_before_its_event_was_answered_so_long_ago(delay: int) -> None:
    """labelled + delay = answered, from the first label on."""
    told: list[Told] = []

    def make(models: Models) -> Told:
        told.append(Told(models))
        return told[0]

    run(Models(flipping()), make, delay)
    assert told[0].seen[0] == (600, 600)  # the warm-up
    assert all(labelled + delay == answered for labelled, answered in told[0].seen[1:])
    assert told[0].seen[-1] == (4_000 - delay, 4_000)


def test_the_loop_follows_a_change_that_leaves_the_first_model_wrong() -> None:
    """And later by as much as its labels are."""
    models = Models(flipping())
    made = {delay: run(models, CONTENDERS[OURS], delay) for delay in (0, 500)}
    frozen = run(models, CONTENDERS[FROZEN], 0)
    assert frozen.accuracy < 60.0
    assert 80.0 < made[500].accuracy < made[0].accuracy
    assert frozen.swaps == ()
    assert all(at > 2_000 for at in made[0].swaps if at > 1_900)


def test_a_refit_every_500_labels_is_one_swap_each() -> None:
    """3,400 labels behind the warm-up."""
    assert len(run(Models(flipping()), CONTENDERS[EVERY], 0).swaps) == 6


def test_no_change_repeats_the_newest_label_that_is_known() -> None:
    """With a delay, the one of so many events ago."""
    labels = np.array([0, 0, 1, 1] * 50)
    stream = Stream("pairs", np.zeros((200, 1)), labels, ("a",), ())
    assert no_change(stream, 0).accuracy == pytest.approx(50.0, abs=1.0)
    assert no_change(stream, 3).accuracy == 100.0


def test_a_model_is_fitted_once_whoever_asks() -> None:
    """And its predictions are those of its own rows, not of all."""
    models = Models(flipping())
    early = models.wrong(((0, 600),), 1_000, 1_500).mean()
    late = models.wrong(((0, 600),), 3_000, 3_500).mean()
    assert (early < 0.1, late > 0.9, models.fits) == (True, True, 1)
