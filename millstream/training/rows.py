"""Labelled rows, and what a model of them has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.errors import OperatorNeeded
from millstream.models.card import Card, Feature, Kind
from millstream.performance.metrics import Classes, Floats, Ints
from millstream.stream import Stream

NULL_CATEGORY: Final = "(null)"
"""What a category's null becomes where training has seen nulls."""

Labels = npt.NDArray[Any]
Ranges = tuple[tuple[int, int], ...]
"""Event times in microseconds since 1970, each from its first up to but not including its second.
"""


class CannotTrain(OperatorNeeded):
    """These rows give no model: too few, of one class, or without what was asked for."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is learned. labels: in the order of the scores' columns, empty for regression.
    positive: binary only. features: in model order, with what a null means."""

    kind: Kind
    features: tuple[Feature, ...]
    labels: tuple[str, ...] = ()
    positive: str | None = None

    @property
    def names(self) -> list[str]:
        """The features' names."""
        return [feature.name for feature in self.features]

    @property
    def width(self) -> int:
        """k: columns of the scores."""
        return len(self.labels) or 1

    @property
    def classes(self) -> Classes:
        """As the measures take them."""
        return Classes(self.labels, self.labels.index(self.positive) if self.positive else None)

    @classmethod
    def of_card(cls, card: Card) -> Self:
        """What a bundle's model does."""
        return cls(card.kind, card.features, card.labels, card.positive)

    @classmethod
    def of(
        cls,
        stream: Stream,
        columns: pa.Table,
        labels: Labels,
        champion: Card | None = None,
    ) -> Self:
        """The stream's task, as these rows show it.

        A feature in which the rows have a null, or the champion takes one, may be null. Labels are
        the champion's, in its order, then what else occurs. Raises CannotTrain where a binary
        stream's rows have other than two labels, or the rows lack a feature.
        """
        known = {feature.name: feature for feature in champion.features} if champion else {}
        features = tuple(
            _feature(name, name in stream.features.categories, columns, known.get(name))
            for name in stream.features.order
        )
        if stream.label.kind == "regression":
            return cls("regression", features)
        order = _labels(labels, champion)
        if stream.label.kind == "multiclass":
            return cls("multiclass", features, order)
        if len(order) != 2:
            raise CannotTrain(
                f"the labels of {stream.name}'s rows are {', '.join(order[:5]) or 'none'}; a "
                "binary stream has two",
                "Choose rows with both labels, or set label.kind = 'multiclass'",
            )
        positive = champion.positive if champion and champion.positive in order else order[1]
        return cls("binary", features, order, positive)


@dataclass(frozen=True, slots=True)
class Rows:
    """n labelled rows, by event time unless said.

    columns: pyarrow Table [n] with the task's features (others are ignored). labels: [n] texts, or
    numbers for regression. times_us: [n] event times, microseconds since 1970. known_us: [n] when
    each label became known. ids: [n] what the rows are called; empty without names. weights: [n].
    """

    task: Task
    columns: pa.Table
    labels: Labels
    times_us: Ints
    known_us: Ints | None = None
    ids: Sequence[str] = ()
    weights: Floats | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.labels), len(self.times_us), self.columns.num_rows}
        assert len(lengths) == 1, f"labels, times and columns of {lengths} rows"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Ints | slice) -> Rows:
        """Some of them, in this order."""
        if isinstance(places, slice):
            places = np.arange(len(self))[places]
        ids = self.ids
        return replace(
            self,
            columns=self.columns.take(pa.array(places)),
            labels=self.labels[places],
            times_us=self.times_us[places],
            known_us=None if self.known_us is None else self.known_us[places],
            ids=[ids[place] for place in places.tolist()] if len(ids) else ids,
            weights=None if self.weights is None else self.weights[places],
        )

    def within(self, ranges: Ranges) -> Rows:
        """Those of these event times. The rows must be in order of time."""
        bounds = [np.searchsorted(self.times_us, each).tolist() for each in ranges]
        places = [np.arange(first, last) for first, last in bounds]
        return self.take(np.concatenate([np.arange(0), *places]).astype(np.int64))

    @property
    def codes(self) -> Ints:
        """[n] class numbers; a label that the task does not know is the number of its labels."""
        numbers = {label: number for number, label in enumerate(self.task.labels)}
        count = len(numbers)
        return np.array([numbers.get(label, count) for label in self.labels.tolist()], np.int64)

    @property
    def values(self) -> Floats:
        """[n] regression's targets."""
        return np.asarray(self.labels, np.float64)


def as_table(columns: Any) -> pa.Table:
    """A pyarrow Table of a Table, a RecordBatch, a pandas DataFrame or a mapping of arrays."""
    if isinstance(columns, pa.Table):
        return columns
    if isinstance(columns, pa.RecordBatch):
        return pa.Table.from_batches([columns])
    if isinstance(columns, Mapping):
        return pa.table(dict(columns))
    return pa.Table.from_pandas(columns, preserve_index=False)


def number_column(table: pa.Table, name: str) -> Floats:
    """[n] doubles as a session reads them; a null is NaN."""
    column = table.column(name).combine_chunks()
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    wide = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan)
    return np.asarray(wide, np.float64)


def category_column(table: pa.Table, feature: Feature) -> pa.Array:
    """[n] texts; a null is the feature's missing_value, else stays one."""
    column = table.column(feature.name).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.string())
    return column if feature.missing_value is None else column.fill_null(feature.missing_value)


def _feature(name: str, category: bool, columns: pa.Table, known: Feature | None) -> Feature:
    if columns.schema.get_field_index(name) < 0:
        raise CannotTrain(
            f"the rows have no column {name}, a feature of the stream",
            "Name rows that have every feature; private fields are not kept in ClickHouse",
        )
    column = columns.column(name)
    if category:
        told = known.missing_value if known is not None else None
        value = told if told is not None or not column.null_count else NULL_CATEGORY
        return Feature(name=name, type="category", missing_value=value)
    holes = column.null_count or (
        pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()
    )
    allowed = known is not None and known.missing == "nan"
    return Feature(name=name, missing="nan" if holes or allowed else "refuse")


def _labels(labels: Labels, champion: Card | None) -> tuple[str, ...]:
    order = list(champion.labels) if champion is not None else []
    return (*order, *sorted(set(labels.tolist()) - set(order)))
