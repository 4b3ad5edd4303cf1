"""A cheaper variant beside the model it was made of: size, speed, loss, flipped decisions; a gate.

Losses are paired: the same rows, in the order in which they happened. The interval of their
difference is from resampled blocks of neighbours (moving-block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.models.bundle import Bundle
from millstream.models.card import Card
from millstream.models.evaluation import decided
from millstream.models.independence import independence
from millstream.models.session import Session

Floats = npt.NDArray[np.float64]

BATCHES: Final = (1, 64, 1_024)
TURNS: Final = 9
INDEPENDENCE_ROWS: Final = 2_048
RESAMPLES: Final = 500
_CHANCE_MIN: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Gate:
    """What a variant must keep, and what it must gain.

    flips_max: share of rows with another label; regression: none are counted. loss_max: the upper
    end of the 95 % interval of the loss's increase, as a share of the model's own loss.
    faster_min, smaller_max: of the speed at 1,024 rows, which is where an overloaded scorer is, and
    of the file; one is enough.
    """

    flips_max: float = 0.01
    loss_max: float = 0.01
    faster_min: float = 1.2
    smaller_max: float = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant. losses: mean of the model and of the variant; log loss, or squared error.

    increase: (low, mean, high) of the loss's increase, a share of the model's loss. rates: rows/s
    by batch, of the model and of the variant. moved: rows whose score depends on their batch mates.
    seen: rows that the model, not the variant, was trained on: they make the increase too large.
    against: why it is not let in; empty where it is.
    """

    form: str
    rows: int
    size: tuple[int, int]
    rates: Mapping[int, tuple[float, float]]
    difference: float
    flips: int
    losses: tuple[float, float]
    increase: tuple[float, float, float]
    moved: int
    seen: int = 0
    against: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the gate lets it in."""
        return not self.against

    @property
    def faster(self) -> Mapping[int, float]:
        """How many times as fast, by batch."""
        return {batch: variant / own for batch, (own, variant) in self.rates.items()}

    def as_json(self) -> dict[str, Any]:
        """Every number of it."""
        return {
            "form": self.form,
            "rows": self.rows,
            "size_bytes": list(self.size),
            "rows_per_s": {str(batch): list(pair) for batch, pair in self.rates.items()},
            "largest_difference": self.difference,
            "flips": self.flips,
            "losses": list(self.losses),
            "loss_increase": list(self.increase),
            "rows_moved_by_batch_mates": self.moved,
            "rows_that_the_model_was_trained_on": self.seen,
            "passed": self.passed,
            "against": list(self.against),
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows that the variant was not made of, in the order in which they happened.

    truth: [n] labels as the card has them, or values. seen: rows that the model itself was trained
    on, whose own loss is lower there than on new rows.
    """

    batch: pa.RecordBatch
    truth: Sequence[Any] | npt.NDArray[Any]
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Bench:
    """How speed is measured. clock: a monotonic one, in seconds. seconds: of each measurement.

    Model and variant take turns, and medians are compared, for whatever else runs slows both.
    """

    clock: Callable[[], float]
    seconds: float = 0.1

    def rates(self, own: Bundle, variant: Bundle) -> dict[int, tuple[float, float]]:
        """Rows/s of both by batch, on made-up rows, each by its faster engine, on one thread."""
        one, two = self._session(own), self._session(variant)
        try:
            feeds = [session.probes(max(BATCHES)) for session in (one, two)]
            found = {}
            for rows in BATCHES:
                parts = [{name: array[:rows] for name, array in each.items()} for each in feeds]
                turns = [
                    [self._rate(s, part, rows) for s, part in zip((one, two), parts, strict=True)]
                    for _ in range(TURNS)
                ]
                ours, theirs = np.median(turns, axis=0)
                found[rows] = (float(ours), float(theirs))
            return found
        finally:
            one.close()
            two.close()

    def _session(self, bundle: Bundle) -> Session:
        """With compiled trees where the model is one, for then they are the faster engine."""
        session = Session(bundle, engine="compiled", batch_rows_max=max(BATCHES))
        session.warm_up(BATCHES)
        return session

    def _rate(self, session: Session, feeds: dict[str, Any], rows: int) -> float:
        session.answer(feeds, rows)
        began, answered, passed = self.clock(), 0, 0.0
        while passed < self.seconds / TURNS:
            session.answer(feeds, rows)
            answered += rows
            passed = self.clock() - began
        return answered / passed


def compare(
    own: Bundle, variant: Bundle, form: str, judged: Judged, bench: Bench, gate: Gate | None = None
) -> Measured:
    """Measure a variant beside the model. Rows that either refuses are left out.

    Raises ValueError where no row is left.
    """
    gate = gate or Gate()
    one, two = _scored(own, judged.batch), _scored(variant, judged.batch)
    known = _known(own.card, judged.truth)
    kept = known & ~np.isnan(one).any(axis=1) & ~np.isnan(two).any(axis=1)
    if not kept.any():
        raise ValueError("no row is answered by both models and has a known label")
    one, two = one[kept], two[kept]
    truth = [value for value, keep in zip(judged.truth, kept, strict=True) if keep]
    losses = _losses(own.card, truth, one), _losses(own.card, truth, two)
    flips = 0
    if own.card.labels:
        flips = int((decided(own.card, one) != decided(variant.card, two)).sum())
    answered = judged.batch.filter(pa.array(kept))
    found = Measured(
        form=form,
        rows=len(truth),
        size=(len(own.model_bytes), len(variant.model_bytes)),
        rates=bench.rates(own, variant),
        difference=float(np.abs(one - two).max()),
        flips=flips,
        losses=(float(losses[0].mean()), float(losses[1].mean())),
        increase=_increase(*losses),
        moved=int(independence(variant, answered, INDEPENDENCE_ROWS).found),
        seen=judged.seen,
    )
    return _judged(found, gate)


def _judged(found: Measured, gate: Gate) -> Measured:
    against = []
    if found.moved:
        against.append(f"{found.moved} rows' scores depend on their batch mates")
    if found.flips > gate.flips_max * found.rows:
        against.append(f"{found.flips / found.rows:.2%} of the decisions flip")
    if not found.increase[2] <= gate.loss_max:
        against.append(f"its loss may be up to {found.increase[2]:.1%} higher")
    faster, smaller = found.faster[max(BATCHES)], found.size[1] / found.size[0]
    if faster < gate.faster_min and smaller > gate.smaller_max:
        at = f"{faster:.2f} times as fast at {max(BATCHES):,} rows"
        against.append(f"no gain: {at}, {smaller:.0%} of the size")
    return replace(found, against=tuple(against))


def _scored(bundle: Bundle, batch: pa.RecordBatch) -> Floats:
    """[n, k]; NaN where the row is refused."""
    session = Session(bundle)
    try:
        scored = session.score(batch)
    finally:
        session.close()
    return scored.whole(batch.num_rows)


def _known(card: Card, truth: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if card.kind == "regression":
        return np.isfinite(np.asarray(truth, np.float64))
    return np.isin(np.array([str(label) for label in truth]), card.labels)


def _losses(card: Card, truth: Sequence[Any], scores: Floats) -> Floats:
    """[n]: -log of the true label's probability, or the squared error."""
    if card.kind == "regression":
        return (np.asarray(truth, np.float64) - scores[:, 0]) ** 2
    places = np.array([card.labels.index(str(label)) for label in truth])
    chances = scores[np.arange(len(places)), places]
    found: Floats = -np.log(np.clip(chances, _CHANCE_MIN, 1.0))
    return found


def _increase(own: Floats, variant: Floats) -> tuple[float, float, float]:
    """(low, mean, high): 95 % interval of the mean difference, a share of the model's loss."""
    difference, base = variant - own, float(own.mean()) or _CHANCE_MIN
    count = len(difference)
    size = max(1, round(count ** (1 / 3)))
    sums = np.concatenate([[0.0], np.cumsum(difference)])
    blocks = (sums[size:] - sums[:-size]) / size
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(blocks), (RESAMPLES, -(-count // size)))
    low, high = np.percentile(blocks[draws].mean(axis=1), [2.5, 97.5])
    mean = float(difference.mean())
    return min(float(low), mean) / base, mean / base, max(float(high), mean) / base
