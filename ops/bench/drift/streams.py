"""Error streams with known changes: a model's mistakes on rows resampled within each concept.

For each change a model is fitted on half of the rows of the concept before, drawn with
replacement, and predicts the other half and then the concept after, both resampled too: so seeds
differ in model and rows, errors are independent within a concept, and the change lies where it is
said to. After an abrupt change rows are resampled; after a gradual one their order is kept.
Streams named "... one model" go on with the first model through all changes, both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from river.datasets import synth

from examples.loans.generate import Change, loans
from ops.bench.drift import blind

Errors = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROWS: Final = 4_000
"""Of each concept of River's generators."""
INDEPENDENT: Final = (0.01, 0.05, 0.2, 0.4)
BURSTY: Final = {
    "bursty": (0.1, 0.4, 600, 100),
    "bursty, strong": (0.1, 0.5, 600, 100),
    "bursty, many": (0.1, 0.5, 300, 100),
    "bursty, long": (0.1, 0.35, 800, 200),
    "bursty, rare": (0.1, 0.4, 400, 30),
    "bursty, short": (0.3, 0.6, 100, 100),
}
"""Name -> error rate when quiet, in a burst, mean events of quiet, of a burst (geometric)."""
BURSTS: Final = BURSTY | blind.BURSTY
STATIONARY_EVENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A detector's whole life. changes: index of each first event of a new concept; its width."""

    errors: Errors
    changes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A data set: features, labels as codes, and its changes (row, width)."""

    features: Floats
    labels: Ints
    changes: tuple[tuple[int, int], ...]


def names(data: Path | None) -> list[str]:
    """The streams that can be made here, those of the data folder if there is one."""
    real: list[str] = []
    if data is not None:
        real = [name for name, (file, _, _) in REAL.items() if (data / file).is_file()]
    return [*real, *GENERATED, *(f"{n}, one model" for n in ("insects_switch",) if n in real)]


def stationary() -> list[str]:
    """Streams without a change."""
    return [*(f"independent {rate:.0%}" for rate in INDEPENDENT), *BURSTY]


def blind_names() -> tuple[list[str], list[str]]:
    """Streams on which nothing was chosen: with changes, and without."""
    still = [*(f"independent {rate:.0%}" for rate in blind.INDEPENDENT), *blind.BURSTY]
    return [*BLIND], still


def pieces(name: str, seed: int, data: Path | None) -> list[Piece]:
    """One seed's pieces of a stream."""
    is_blind = name in {each for some in blind_names() for each in some}
    random = np.random.default_rng([seed, blind.FIRST_SEED if is_blind else 7])
    if name.startswith("independent"):
        rate = float(name.split()[1].rstrip("%")) / 100
        drawn = random.random(STATIONARY_EVENTS) < rate
        return [Piece(drawn.astype(np.int8), ())]
    if name in BURSTS:
        return [Piece(bursts(*BURSTS[name], STATIONARY_EVENTS, random), ())]
    short = name.removesuffix(", one model")
    rows = _rows(short, data)
    if short != name:
        return [_one_model(rows, random)]
    return [_around(rows, number, random) for number in range(len(rows.changes))]


def bursts(
    quiet: float,
    burst: float,
    quiet_events: float,
    burst_events: float,
    events: int,
    random: np.random.Generator,
) -> Errors:
    """Stationary errors whose rate switches between two values at geometric times."""
    rates = np.empty(events)
    in_burst = bool(random.random() < burst_events / (quiet_events + burst_events))
    at = 0
    while at < events:
        length = int(random.geometric(1 / (burst_events if in_burst else quiet_events)))
        rates[at : at + length] = burst if in_burst else quiet
        at += length
        in_burst = not in_burst
    return (random.random(events) < rates).astype(np.int8)


def _around(rows: Rows, number: int, random: np.random.Generator) -> Piece:
    """A model of the concept before one change, through it, to the next change."""
    start, change, end, width = _bounds(rows, number)
    predicts, held = _model(rows, start, change, random)
    before = random.choice(held, len(held))
    after = (
        np.arange(change, end) if width > 1 else random.choice(np.arange(change, end), end - change)
    )
    return Piece(predicts(np.concatenate([before, after])), ((len(held), width),))


def _one_model(rows: Rows, random: np.random.Generator) -> Piece:
    start, change, _, _ = _bounds(rows, 0)
    predicts, held = _model(rows, start, change, random)
    order = [random.choice(held, len(held))]
    for number in range(len(rows.changes)):
        _, begin, end, width = _bounds(rows, number)
        these = np.arange(begin, end)
        order.append(these if width > 1 else random.choice(these, len(these)))
    moved = len(held) - change
    return Piece(
        predicts(np.concatenate(order)), tuple((at + moved, width) for at, width in rows.changes)
    )


def _bounds(rows: Rows, number: int) -> tuple[int, int, int, int]:
    """First row of the settled concept before, the change, the next one, and its width."""
    change, width = rows.changes[number]
    start = 0
    if number:
        at, before = rows.changes[number - 1]
        start = at + (before if before > 1 else 0)
    last = number + 1 == len(rows.changes)
    end = len(rows.labels) if last else rows.changes[number + 1][0]
    return start, change, end, width


def _model(
    rows: Rows, start: int, end: int, random: np.random.Generator
) -> tuple[Callable[[Ints], Errors], Ints]:
    """A function from rows to errors, and the rows that the model has not seen."""
    seen = random.random(end - start) < 0.5
    inside = np.arange(start, end)
    fitted = random.choice(inside[seen], int(seen.sum()))
    model: Any = lgb.LGBMClassifier(
        n_estimators=40, num_leaves=15, verbose=-1, n_jobs=1,
        random_state=int(random.integers(1 << 30)),
    )  # fmt: skip
    model.fit(rows.features[fitted], rows.labels[fitted])

    def predicts(these: Ints) -> Errors:
        wrong = np.asarray(model.predict(rows.features[these])) != rows.labels[these]
        found: Errors = wrong.astype(np.int8)
        return found

    return predicts, inside[~seen]


@cache
def _rows(name: str, data: Path | None) -> Rows:
    made = GENERATED | BLIND
    if name in made:
        return made[name]()
    assert data is not None, f"{name} needs the data folder"
    file, changes, hidden = REAL[name]
    frame, labels = read_coded(data / file, hidden)
    return Rows(frame.to_numpy(np.float64), labels, changes)


def read_coded(path: Path, hidden: tuple[str, ...]) -> tuple[pd.DataFrame, Ints]:
    """A data set's features, texts as codes, and its labels as codes; hidden: neither."""
    frame = pd.read_csv(path)
    labels: Ints = frame["label"].astype("category").cat.codes.to_numpy(np.int64).astype(np.int64)
    frame = frame.drop(columns=[c for c in ("label", *hidden) if c in frame])
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype("category").cat.codes
    return frame, labels


def _loans() -> Rows:
    """The generated loans: 50,000 rows, functions 0, 3, 6, 0, 5."""
    changes = [Change(10_000), Change(20_000, 2_000), Change(30_000), Change(40_000, 4_000)]
    drawn = list(loans(50_000, 42, (0, 3, 6, 0, 5), changes))
    features = [
        np.column_stack([batch.events.column(i).to_numpy() for i in range(3, 12)])
        for batch in drawn
    ]
    return Rows(
        np.concatenate(features).astype(np.float64),
        np.concatenate([batch.labels for batch in drawn]).astype(np.int64),
        tuple((change.at, change.width) for change in changes),
    )


def _synth(make: Callable[[int], Any], concepts: int) -> Callable[[], Rows]:
    """Rows of one of River's generators, an abrupt change every ROWS."""

    def drawn() -> Iterator[tuple[list[float], int]]:
        for concept in range(concepts):
            for features, label in make(concept).take(ROWS):
                yield [float(value) for value in features.values()], int(label)

    def made() -> Rows:
        features, labels = zip(*drawn(), strict=True)
        return Rows(
            np.array(features, np.float64),
            np.array(labels, np.int64),
            tuple((ROWS * number, 1) for number in range(1, concepts)),
        )

    return made


REAL: Final[dict[str, tuple[str, tuple[tuple[int, int], ...], tuple[str, ...]]]] = {
    "insects_gradual": ("insects/insects_gradual.csv.gz", ((14_028, 1),), ()),
    "insects_switch": (
        "insects/insects_switch.csv.gz",
        tuple((at, 1) for at in (4_000, 6_000, 9_000, 11_000, 14_000, 16_000)),
        ("concept",),
    ),
    "nsl_kdd": ("nsl_kdd/nsl_kdd.csv.gz", ((25_192, 1),), ("attack", "difficulty", "part")),
}
"""Name -> file, changes, columns that are no features."""
GENERATED: Final[dict[str, Callable[[], Rows]]] = {
    "loans": _loans,
    "sine": _synth(lambda k: synth.Sine(classification_function=k, seed=k, has_noise=False), 4),
    "mixed": _synth(lambda k: synth.Mixed(classification_function=k % 2, seed=k), 3),
    "sea": _synth(lambda k: synth.SEA(variant=(0, 3, 2, 1)[k], noise=0.1, seed=k), 4),
    "hyperplane": _synth(
        lambda k: synth.Hyperplane(seed=k, n_features=10, noise_percentage=0.05), 3
    ),
}
BLIND: Final[dict[str, Callable[[], Rows]]] = {
    name: _synth(make, concepts) for name, (make, concepts) in blind.GENERATED.items()
}
