"""From Arrow columns to feeds: every type, every kind of missing, and the two ways agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.errors import Stage
from millstream.models.card import Feature, Input
from millstream.models.features import FeatureReader
from tests.millstream.models.graphs import batch, card, identity

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)
I64, TEXT, BOOL = np.dtype(np.int64), np.dtype(object), np.dtype(np.bool_)


def tensor(*features: Feature, element: np.dtype[Any] = F64) -> FeatureReader:
    """A reader for the tensor layout."""
    return FeatureReader(card(identity(width=len(features)), features=features), {"x": element})


def columns(**features: tuple[Feature, np.dtype[Any]]) -> FeatureReader:
    """A reader for the columns layout."""
    described = card(
        identity(),
        input=Input(layout="columns"),
        features=tuple(feature for feature, _ in features.values()),
    )
    return FeatureReader(described, {name: element for name, (_, element) in features.items()})


A, B = Feature(name="a"), Feature(name="b")
A_NAN = Feature(name="a", missing="nan")


def names_of(reader: FeatureReader, rows: pa.RecordBatch) -> list[tuple[int, str]]:
    """(row, name) of each refusal; every one must be Stage.VALIDATE."""
    refusals = reader.read(rows).refusals
    assert all(refusal.stage is Stage.VALIDATE for refusal in refusals)
    return [(refusal.row, refusal.name) for refusal in refusals]


def test_columns_become_a_matrix_in_model_order() -> None:
    """The order is the card's, not the batch's; other columns are ignored."""
    read = tensor(A, B).read(batch(z=["?", "?"], b=[3.0, 4.0], a=[1.0, 2.0]))
    assert read.feeds["x"].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert read.feeds["x"].flags.c_contiguous
    assert read.positions.tolist() == [0, 1]
    assert read.refusals == ()


@pytest.mark.parametrize(
    "kinds",
    [
        (pa.float64(), pa.float64()),
        (pa.float32(), pa.float32()),
        (pa.float64(), pa.int64()),
        (pa.float32(), pa.int32()),
        (pa.int32(), pa.int64()),
        (pa.bool_(), pa.float64()),
        (pa.decimal128(30, 2), pa.int8()),
        (pa.uint64(), pa.float32()),
    ],
)
def test_every_numeric_type_gives_its_own_value(kinds: tuple[pa.DataType, pa.DataType]) -> None:
    """No mix of types loses digits that a double has."""
    big = 1 if pa.types.is_boolean(kinds[0]) else 100
    two = 16_777_217 if kinds[1] in {pa.int32(), pa.int64()} else 7
    rows = batch(a=pa.array([big]).cast(kinds[0]), b=pa.array([two]).cast(kinds[1]))
    assert tensor(A, B).read(rows).feeds["x"].tolist() == [[float(big), float(two)]]


@pytest.mark.parametrize(
    "kind", [pa.date32(), pa.time32("ms"), pa.timestamp("ms"), pa.timestamp("us", tz="UTC")]
)
def test_dates_and_times_are_the_numbers_that_avro_holds(kind: pa.DataType) -> None:
    """Days, milliseconds or microseconds, as the schema says; a null is a null."""
    whole = pa.int32() if kind.bit_width == 32 else pa.int64()
    rows = batch(a=pa.array([20_000, None], whole).cast(kind))
    assert tensor(A_NAN).read(rows).feeds["x"].ravel().tolist()[0] == 20_000.0
    assert names_of(tensor(A), rows) == [(1, "null_feature")]


def test_bad_rows_leave_and_the_others_stay() -> None:
    """Null, NaN and both infinities are refused by name; good rows keep their positions."""
    rows = batch(a=[1.0, None, np.nan, np.inf, -np.inf, 6.0], b=[1, 2, 3, 4, 5, None])
    read = tensor(A, B).read(rows)
    assert read.positions.tolist() == [0]
    assert read.feeds["x"].tolist() == [[1.0, 1.0]]
    assert [(r.row, r.name) for r in read.refusals] == [
        (1, "null_feature"),
        (2, "nan_feature"),
        (3, "infinite_feature"),
        (4, "infinite_feature"),
        (5, "null_feature"),
    ]
    assert "'b'" in read.refusals[-1].reason


def test_missing_nan_gives_the_model_a_nan_but_no_infinity() -> None:
    """Null and NaN both arrive as NaN; infinite values are refused all the same."""
    read = tensor(A_NAN).read(batch(a=[None, np.nan, 1.0, np.inf]))
    assert np.isnan(read.feeds["x"][:2]).all()
    assert read.positions.tolist() == [0, 1, 2]
    assert [(r.row, r.name) for r in read.refusals] == [(3, "infinite_feature")]


def test_a_null_in_an_integer_column_is_missing_too() -> None:
    """Integers have no NaN; a null in them becomes one, or is refused."""
    assert np.isnan(tensor(A_NAN).read(batch(a=[None, 1])).feeds["x"][0, 0])
    assert names_of(tensor(A), batch(a=[None, 1])) == [(0, "null_feature")]


def test_a_column_of_nothing_is_all_missing() -> None:
    """Arrow's null type has no values at all."""
    assert np.isnan(tensor(A_NAN).read(batch(a=pa.nulls(2))).feeds["x"]).all()
    assert names_of(tensor(A), batch(a=pa.nulls(1))) == [(0, "null_feature")]


def test_float32_refuses_what_it_cannot_hold() -> None:
    """1e39 would become infinite; in a double model it is a number like any other."""
    rows = batch(a=[1e39, 1.0])
    assert names_of(tensor(A, element=F32), rows) == [(0, "out_of_range_feature")]
    assert names_of(tensor(A), rows) == []
    assert tensor(A, element=F32).read(batch(a=[0.1])).feeds["x"].dtype == F32


def test_reasons_never_quote_a_value() -> None:
    """A refusal goes into a dead letter's headers, which private values must not reach."""
    rows = batch(a=[1e39, 98765.25], b=[12345.5, None])
    for refusal in tensor(A, B, element=F32).read(rows).refusals:
        assert not any(value in refusal.reason for value in ("1e39", "98765", "12345"))


def test_a_missing_column_refuses_every_row() -> None:
    """An older writer's schema may lack the field."""
    assert names_of(tensor(A, B), batch(a=[1.0, 2.0])) == [
        (0, "missing_feature"),
        (1, "missing_feature"),
    ]


@pytest.mark.parametrize("column", [["1", "2"], [b"1", b"2"], [[1], [2]], [{"v": 1}, {"v": 2}]])
def test_a_column_of_the_wrong_type_refuses_every_row(column: list[Any]) -> None:
    """Text is never parsed into a number."""
    assert names_of(tensor(A), batch(a=column)) == [(0, "wrong_type"), (1, "wrong_type")]


def test_an_empty_batch_gives_empty_feeds() -> None:
    """No rows, no refusals, the right shape."""
    read = tensor(A, B).read(batch(a=pa.array([], pa.float64()), b=pa.array([], pa.float64())))
    assert read.feeds["x"].shape == (0, 2)
    assert len(read.positions) == 0


def test_a_slice_of_a_batch_is_read_from_its_own_rows() -> None:
    """Arrow slices share buffers; offsets must be honoured."""
    rows = batch(a=[1.0, 2.0, None, 4.0]).slice(1, 3)
    read = tensor(A).read(rows)
    assert read.feeds["x"].ravel().tolist() == [2.0, 4.0]
    assert read.positions.tolist() == [0, 2]


def test_both_ways_give_the_same_matrix() -> None:
    """The one-call way and the column way agree bit for bit on the same good rows."""
    values = np.random.default_rng(3).normal(size=(50, 2)) * 1e6
    good = batch(a=values[:, 0], b=values[:, 1])
    spoiled = batch(a=[*values[:, 0], None], b=[*values[:, 1], 0.0])
    for element in (F64, F32):
        reader = tensor(A, B, element=element)
        one, other = reader.read(good).feeds["x"], reader.read(spoiled).feeds["x"]
        assert one.tobytes() == other.tobytes()


def test_a_change_of_schema_between_batches_is_seen() -> None:
    """The same names in another order, or another type, are read anew."""
    reader = tensor(A, B)
    for rows in (batch(a=[1.0], b=[2.0]), batch(b=[2.0], a=[1.0]), batch(b=[2], a=[1.0])):
        assert reader.read(rows).feeds["x"].tolist() == [[1.0, 2.0]]


def test_categories_arrive_as_strings() -> None:
    """Plain, large and dictionary-encoded strings; one [rows, 1] array per feature."""
    reader = columns(s=(Feature(name="s", type="category"), TEXT))
    plain = pa.array(["u", "é", ""])
    for column in (plain, plain.cast(pa.large_string()), plain.dictionary_encode()):
        feed = reader.read(batch(s=column)).feeds["s"]
        assert feed.shape == (3, 1)
        assert feed.ravel().tolist() == ["u", "é", ""]


def test_a_null_category_becomes_its_declared_value() -> None:
    """Or is refused where none is declared."""
    declared = Feature(name="s", type="category", missing_value="none")
    rows = batch(s=pa.array(["u", None]).dictionary_encode())
    assert columns(s=(declared, TEXT)).read(rows).feeds["s"].ravel().tolist() == ["u", "none"]
    strict = columns(s=(Feature(name="s", type="category"), TEXT))
    assert names_of(strict, rows) == [(1, "null_feature")]
    assert strict.read(rows).feeds["s"].ravel().tolist() == ["u"]


def test_numbers_are_no_categories() -> None:
    """1 is not "1": what a category was in training must be decided there."""
    reader = columns(s=(Feature(name="s", type="category"), TEXT))
    assert names_of(reader, batch(s=[1])) == [(0, "wrong_type")]


def test_integer_inputs_take_whole_numbers_only() -> None:
    """A fraction would be cut off silently."""
    reader = columns(a=(A, I64))
    read = reader.read(batch(a=[1.0, 2.5, 2.0**60, None]))
    assert read.feeds["a"].tolist() == [[1]]
    assert [r.name for r in read.refusals] == ["not_whole", "not_whole", "null_feature"]


def test_booleans_are_read_from_booleans_only() -> None:
    """As 0 and 1 in a tensor, as they are where the input is boolean."""
    flag = Feature(name="a", type="boolean")
    rows = batch(a=[True, False, None])
    assert columns(a=(flag, BOOL)).read(rows).feeds["a"].ravel().tolist() == [True, False]
    assert tensor(flag).read(rows).feeds["x"].ravel().tolist() == [1.0, 0.0]
    assert names_of(tensor(flag), batch(a=[1])) == [(0, "wrong_type")]
