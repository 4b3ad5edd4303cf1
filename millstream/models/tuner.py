"""Measures a bundle's model by engine, threads and batch size, and compares what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from millstream.models.bundle import Bundle
from millstream.models.card import Card
from millstream.models.compiled import DIFFERENCE_MAX, difference
from millstream.models.session import Session
from millstream.models.tuning import Machine, Point, Tuning, Variant

Floats = npt.NDArray[np.float64]
Seconds = Callable[[], float]
"""A monotonic clock."""

BATCHES: Final = (1, 8, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192)
CHECKED: Final = 2_048
"""Rows on which all variants must agree."""
_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. seconds: of each point. batches: rows. threads: numbers to try."""

    seconds: float = 0.1
    batches: tuple[int, ...] = BATCHES
    threads: tuple[int, ...] = (1, 2)

    @property
    def points(self) -> int:
        """Measurements of one engine."""
        return len(self.batches) * len(self.threads)


def tune(
    bundle: Bundle,
    machine: Machine,
    clock: Seconds,
    measured: datetime,
    effort: Effort | None = None,
    watch: Callable[[Point | Variant], None] | None = None,
) -> Tuning:
    """The curve of a bundle. A variant whose scores differ by more than 1e-6 gets no points.

    clock: a monotonic clock. measured: the time to write down. watch: told of each result.
    Raises BundleInvalid where ONNX Runtime cannot build or run the model.
    """
    effort = effort or Effort()
    say = watch or (lambda _: None)
    variants: list[Variant] = []
    points: list[Point] = []
    own = Session(bundle, engine="onnxruntime")
    note: str | None = None
    try:
        own.warm_up((1, 64))
        feeds = own.probes(max(*effort.batches, CHECKED))
        expected = own.answer(_first(feeds, CHECKED), CHECKED)
        for engine, threads in _variants(effort.threads):
            session = Session(bundle, threads, engine=engine, batch_rows_max=1 << 20)
            try:
                if session.engine != engine:
                    note = session.engine_note
                    continue
                compared = _compare(session, bundle.card, feeds, expected, threads)
                variants.append(compared)
                say(compared)
                if compared.difference > DIFFERENCE_MAX:
                    continue
                for rows in effort.batches:
                    rate = _rate(session, _first(feeds, rows), rows, clock, effort.seconds)
                    points.append(Point(engine=engine, threads=threads, rows=rows, rows_per_s=rate))
                    say(points[-1])
            finally:
                session.close()
    finally:
        own.close()
    return Tuning(
        model_digest=bundle.digest,
        machine=machine,
        measured=measured,
        variants=tuple(variants),
        points=tuple(points),
        note=note,
    )


def _variants(threads: tuple[int, ...]) -> Iterator[tuple[Literal["onnxruntime", "compiled"], int]]:
    for number in threads:
        yield "onnxruntime", number
    for number in threads:
        yield "compiled", number


def _first(feeds: dict[str, npt.NDArray[Any]], rows: int) -> dict[str, npt.NDArray[Any]]:
    return {name: array[:rows] for name, array in feeds.items()}


def _compare(
    session: Session,
    card: Card,
    feeds: dict[str, npt.NDArray[Any]],
    expected: Floats,
    threads: int,
) -> Variant:
    """Whole, in small pieces, and row by row: a row's scores must not depend on its batch."""
    found = [session.answer(_first(feeds, CHECKED), CHECKED)]
    for size, rows in ((7, 70), (64, 512), (1, 32)):
        part = _first(feeds, rows)
        pieces = [
            session.answer({n: a[at : at + size] for n, a in part.items()}, min(size, rows - at))
            for at in range(0, rows, size)
        ]
        found.append(np.concatenate(pieces))
    off = max(difference(one, expected[: len(one)]) for one in found)
    labels = _labels(expected, card)
    flips = sum(int((_labels(one, card) != labels[: len(one)]).sum()) for one in found)
    return Variant(
        engine=session.engine,
        threads=threads,
        difference=min(off, float(np.finfo(np.float64).max)),
        flips=flips,
        checked=sum(len(one) for one in found),
    )


def _labels(scores: Floats, card: Card) -> npt.NDArray[np.int64]:
    if card.kind == "regression":
        return np.zeros(len(scores), np.int64)
    if card.kind == "binary":
        positive = card.labels.index(card.positive or "")
        decided: npt.NDArray[np.int64] = (scores[:, positive] >= (card.threshold or 0.0)) * 1
        return decided
    best: npt.NDArray[np.int64] = np.nan_to_num(scores).argmax(axis=1)
    return best


def _rate(
    session: Session,
    feeds: dict[str, npt.NDArray[Any]],
    rows: int,
    clock: Seconds,
    seconds: float,
) -> float:
    """Rows a second: the best of a few runs, since whatever else runs can only slow it down."""
    session.answer(feeds, rows)
    begun = clock()
    session.answer(feeds, rows)
    once = max(clock() - begun, 1e-7)
    turns = max(1, int(seconds / _REPEATS / once))
    best = once
    for _ in range(_REPEATS):
        begun = clock()
        for _ in range(turns):
            session.answer(feeds, rows)
        best = min(best, (clock() - begun) / turns)
    return rows / max(best, 1e-9)
