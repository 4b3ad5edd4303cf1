"""Labelled rows for tests: numbers with holes and extremes, categories, every kind of label."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from millstream.models.card import Feature, Kind
from millstream.training.rows import Rows, Task

LABELS: dict[Kind, tuple[str, ...]] = {
    "binary": ("no", "yes"),
    "multiclass": ("a", "b", "c", "d"),
    "regression": (),
}


def labelled_rows(
    kind: Kind, count: int = 600, seed: int = 0, *, categories: bool = True, holes: bool = True
) -> Rows:
    """Rows whose labels depend on the numbers x, y, z and, where there are some, on a category."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(size=(3, count)) * [[1.0], [1e4], [1e-3]]
    colour = rng.choice(["red", "green", "blué", ""], count, p=[0.4, 0.3, 0.2, 0.1])
    signal = x + y / 1e4 * (z > 0) + (colour == "red") * 2 + rng.normal(size=count) / 3
    texts = pa.array(colour.tolist(), pa.string())
    if holes:
        x = np.where(rng.random(count) < 0.05, np.nan, x)
        texts = pa.array([None if n % 17 == 0 else t for n, t in enumerate(colour.tolist())])
    columns = {"x": pa.array(x), "y": pa.array(y), "z": pa.array(z)}
    features = [Feature(name=name, missing="nan" if holes else "refuse") for name in "xyz"]
    if categories:
        columns["colour"] = texts
        features.insert(
            1, Feature(name="colour", type="category", missing_value="(null)" if holes else None)
        )
    labels = LABELS[kind]
    if kind == "regression":
        truth = signal * 100
    else:
        cuts = np.quantile(signal, np.linspace(0, 1, len(labels) + 1)[1:-1])
        truth = np.array(labels, dtype=object)[np.searchsorted(cuts, signal)]
    task = Task(kind, tuple(features), labels, labels[1] if kind == "binary" else None)
    times = 1_700_000_000_000_000 + np.arange(count, dtype=np.int64) * 1_000_000
    return Rows(task, pa.table(columns), truth, times, times + 5_000_000)


def hostile(rows: Rows, seed: int = 1) -> pa.Table:
    """Rows with extremes, zeros, tiny numbers, holes where they are allowed, unseen categories."""
    rng = np.random.default_rng(seed)
    count = 400
    numbers = np.array([0.0, -0.0, 1e-320, -1e-35, 1e35, -1e35, 1e300, -1e308, 1.5, 2.0**53])
    columns = {}
    for feature in rows.task.features:
        if feature.type == "category":
            texts = ["red", "never seen", "", " red", "RED", "ünï", "0", "(null)"]
            if feature.missing_value is not None:
                columns[feature.name] = pa.array(
                    [[*texts, None][n] for n in rng.integers(len(texts) + 1, size=count)]
                )
            else:
                columns[feature.name] = pa.array(rng.choice(texts, count).tolist())
            continue
        values = rng.choice(numbers, count)
        if feature.missing == "nan":
            values[rng.random(count) < 0.2] = np.nan
        columns[feature.name] = pa.array(values)
    return pa.table(columns)
