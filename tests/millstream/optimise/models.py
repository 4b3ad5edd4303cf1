"""Models to make cheaper, rows to judge by, and a clock that ticks at each look."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from millstream.models.bundle import Bundle
from millstream.optimise.compare import Bench
from millstream.training.candidate import fit
from millstream.training.families import Family
from millstream.training.rows import Rows
from tests.millstream.training.tables import labelled_rows

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def bench() -> Bench:
    """Measures nothing true: every look at the clock is a millisecond later."""
    ticks = count()
    return Bench(lambda: next(ticks) * 1e-3, 0.01)


def trained(folder: Path, family: Family, kind: Any = "binary", **parameters: Any) -> Bundle:
    """A bundle of this family, trained on rows that no test judges by."""
    rows = labelled_rows(kind, 1_000, seed=1)
    made = fit(rows, family, parameters)
    return made.bundle(folder, rows, name="test", version="1", created=NOW)


def network(folder: Path, kind: Any = "binary") -> Bundle:
    """Of three layers, large enough that its weights are most of the file."""
    return trained(folder, "mlp", kind, hidden_layer_sizes=(96, 48), max_iter=15)


def fresh(kind: Any = "binary", rows: int = 1_000) -> Rows:
    """Rows like those that it was trained on."""
    return labelled_rows(kind, rows, seed=2)
