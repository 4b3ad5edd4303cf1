"""Whether a row's score is its own: not of its batch mates, nor of the order of its columns.

A model quantised dynamically scales each batch by its largest value: a row's score then moved by up
to 0.117 with its mates. What is scored again after a crash comes in other batches and must be the
same to the bit, so such a model is refused.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.models.bundle import Bundle
from millstream.models.features import Rows
from millstream.models.passport import Check
from millstream.models.session import Engine, Session

SIZES: Final = (64, 2_048)
ENGINES: Final[tuple[Engine, ...]] = ("onnxruntime", "compiled")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def independence(bundle: Bundle, rows: pa.RecordBatch, count: int) -> Check:
    """`count` rows scored alone, in batches of 64 and of 2,048, and shuffled, by both engines.

    rows: which the model answers; repeated where there are fewer than `count`. found: rows of which
    any two scores differ in a bit.
    """
    if not rows.num_rows:
        return Check.of("batch_independence", np.inf, 0.0, note="no row has a score")
    rng = np.random.default_rng(0)
    whole = rows.take(pa.array(np.resize(rng.permutation(rows.num_rows), count)))
    alone: Floats | None = None
    moved = np.zeros(count, bool)
    furthest = 0.0
    tried = []
    for engine in ENGINES:
        session = Session(bundle, engine=engine, batch_rows_max=max(SIZES))
        try:
            if session.engine != engine:
                continue
            read = session.read(whole)
            tried.append(engine)
            if alone is None:
                alone = _scores(session, read, np.arange(count), 1)
            for size in SIZES:
                for order in (np.arange(count), rng.permutation(count)):
                    found = np.empty_like(alone)
                    found[order] = _scores(session, read, order, size)
                    moved |= ~_same(found, alone)
                    furthest = max(furthest, _furthest(found, alone))
        finally:
            session.close()
    note = f"alone, in 64, in 2,048, shuffled; {' and '.join(tried)}"
    if moved.any():
        note = f"a score moves by up to {furthest:.3g} with its batch mates"
    return Check.of("batch_independence", int(moved.sum()), 0.0, count, note)


def schema_map(session: Session, rows: pa.RecordBatch) -> Check:
    """Fields are found by name: columns in another order, and foreign ones, change no answer."""
    names = rows.schema.names[::-1]
    foreign = pa.array(np.arange(rows.num_rows, dtype=np.float64))
    mixed = pa.RecordBatch.from_arrays(
        [foreign, *(rows.column(name) for name in names)], names=["not a feature", *names]
    )
    one, two = session.score(rows), session.score(mixed)
    if not np.array_equal(one.rows, two.rows):
        return Check.of("schema_map", rows.num_rows, 0.0, rows.num_rows, "other rows are refused")
    changed = int((~_same(one.scores, two.scores)).sum())
    return Check.of("schema_map", changed, 0.0, rows.num_rows, "columns reversed, one more")


def _scores(session: Session, read: Rows, order: Ints, size: int) -> Floats:
    """In this order, in batches of this size; NaN where the model gives none."""
    made = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        feeds: dict[str, Any] = {name: array[rows] for name, array in read.feeds.items()}
        scored = session.score_rows(Rows(np.arange(len(rows)), feeds, ()))
        made.append(scored.whole(len(rows)))
    return np.concatenate(made)


def _same(one: Floats, two: Floats) -> npt.NDArray[np.bool_]:
    """[n]: bit for bit; a row without a score in both counts as the same."""
    as_bits = one.view(np.int64) == two.view(np.int64)
    found: npt.NDArray[np.bool_] = (as_bits | (np.isnan(one) & np.isnan(two))).all(axis=1)
    return found


def _furthest(one: Floats, two: Floats) -> float:
    off = np.abs(one - two)
    return float(np.nan_to_num(off, nan=0.0, posinf=0.0).max(initial=0.0))
