"""Features to the matrix that a model takes, by NumPy in training and by ONNX nodes in scoring.

Numbers go in as they are (trees), or filled, standardised and clipped (linear models, networks).
A category is one column for each of its most frequent values; any other value is none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from onnx import TensorProto

from millstream.models.card import Input
from millstream.models.export import TENSOR
from millstream.models.trees import ML_DOMAIN
from millstream.performance.metrics import Floats
from millstream.training.nodes import Nodes
from millstream.training.rows import Task, as_table, category_column, number_column

CATEGORIES_MAX: Final = 100
"""Columns of one category. Too low merges values that matter; too high is slow and memorises."""
SPREADS_MAX: Final = 16.0
"""Standard deviations beyond which a number counts as that far: one extreme value of a stream
cannot then move a linear score without bound, nor overflow a network."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """For each number, [m]: what a null becomes, what is subtracted and divided by."""

    fill: Floats
    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, numbers: Floats) -> Self:
        """From [n, m] training numbers; a column that never varies is only centred."""
        with np.errstate(invalid="ignore", over="ignore"):
            empty = np.isnan(numbers).all(axis=0)
            known = np.where(empty, 0.0, numbers)
            fill = np.nanmedian(known, axis=0) if len(numbers) else np.zeros(numbers.shape[1])
            filled = np.where(np.isnan(known), fill, known)
            centre, spread = filled.mean(axis=0), filled.std(axis=0)
        usable = np.isfinite(spread) & (spread > 0)
        return cls(fill, np.where(np.isfinite(centre), centre, fill), np.where(usable, spread, 1.0))

    def __call__(self, numbers: Floats) -> Floats:
        """[n, m] to [n, m]."""
        with np.errstate(over="ignore"):
            filled = np.where(np.isnan(numbers), self.fill, numbers)
            scaled: Floats = (filled - self.centre) / self.spread
        return np.clip(scaled, -SPREADS_MAX, SPREADS_MAX)

    def add_to(self, graph: Nodes, source: str) -> str:
        """The same as nodes."""
        holes = graph.add("IsNaN", source)
        filled = graph.add("Where", holes, graph.constant(self.fill), source)
        centred = graph.add("Sub", filled, graph.constant(self.centre))
        scaled = graph.add("Div", centred, graph.constant(self.spread))
        bounds = graph.constant(-SPREADS_MAX), graph.constant(SPREADS_MAX)
        return graph.add("Clip", scaled, *bounds)


@dataclass(frozen=True, slots=True)
class Encoder:
    """scaling: None leaves numbers as they are. values: category -> the texts that have columns."""

    task: Task
    scaling: Scaling | None
    values: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, task: Task, columns: Any, *, scaled: bool) -> Self:
        """Learnt from training rows."""
        table = as_table(columns)
        values = {
            feature.name: _frequent(category_column(table, feature))
            for feature in task.features
            if feature.type == "category"
        }
        encoder = cls(task, None, values)
        if not scaled or len(values) == len(task.features):
            return encoder
        return cls(task, Scaling.of(encoder._numbers(table)), values)

    @property
    def input(self) -> Input:
        """One tensor where all features are numbers, else a column for each."""
        if self.values:
            return Input(layout="columns")
        return Input(layout="tensor", name=TENSOR)

    def matrix(self, columns: Any) -> Floats:
        """[n, width] of a Table, RecordBatch, DataFrame or mapping with the features' columns."""
        table = as_table(columns)
        parts = []
        if len(self.values) < len(self.task.features):
            numbers = self._numbers(table)
            parts.append(numbers if self.scaling is None else self.scaling(numbers))
        for feature in self.task.features:
            known = self.values.get(feature.name)
            if known:
                places = pc.index_in(category_column(table, feature), pa.array(known, pa.string()))
                found = np.asarray(places.fill_null(-1), np.int64)
                parts.append((found[:, None] == np.arange(len(known))).astype(np.float64))
        if not parts:
            return np.zeros((table.num_rows, 1))
        return np.ascontiguousarray(np.hstack(parts))

    def add_to(self, graph: Nodes) -> str:
        """The inputs and the same as nodes; the matrix' name."""
        if not self.values:
            source = graph.tensor(len(self.task.features))
            return source if self.scaling is None else self.scaling.add_to(graph, source)
        numbers = [
            graph.input(feature.name)
            for feature in self.task.features
            if feature.name not in self.values
        ]
        texts = {name: graph.input(name, text=True) for name in self.values}
        parts = []
        if numbers:
            joined = graph.join(numbers)
            parts.append(joined if self.scaling is None else self.scaling.add_to(graph, joined))
        parts += [
            _one_hot(graph, texts[name], known) for name, known in self.values.items() if known
        ]
        if not parts:
            return _zeros(graph, next(iter(texts.values())))
        return graph.join(parts)

    def _numbers(self, table: pa.Table) -> Floats:
        """[n, m]"""
        names = [f.name for f in self.task.features if f.name not in self.values]
        return np.column_stack([number_column(table, name) for name in names])


def _frequent(column: pa.Array) -> tuple[str, ...]:
    counts = {
        item["values"].as_py(): item["counts"].as_py()
        for item in column.value_counts()
        if item["values"].is_valid
    }
    by_count = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple(sorted(by_count[:CATEGORIES_MAX]))


def _one_hot(graph: Nodes, source: str, known: tuple[str, ...]) -> str:
    numbers = np.arange(len(known), dtype=np.int64)
    places = graph.add(
        "LabelEncoder",
        source,
        domain=ML_DOMAIN,
        keys_strings=list(known),
        values_int64s=numbers.tolist(),
        default_int64=-1,
    )
    hits = graph.add("Equal", places, graph.constant(numbers.reshape(1, -1)))
    return graph.add("Cast", hits, to=TensorProto.DOUBLE)


def _zeros(graph: Nodes, source: str) -> str:
    """[rows, 1] zeros, as many as the source has rows."""
    places = graph.add(
        "LabelEncoder",
        source,
        domain=ML_DOMAIN,
        keys_strings=[""],
        values_int64s=[0],
        default_int64=0,
    )
    return graph.add("Cast", places, to=TensorProto.DOUBLE)
