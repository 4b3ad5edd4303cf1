"""Whole batches: any schema, any damage, any size, one verdict."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings

from millstream.columnar import Decoded, arrow_schema, frame, make_decoder
from millstream.columnar.batches import FEW_ROWS, HALVED_ROWS_MIN
from millstream.columnar.decoder import KernelDecoder
from millstream.columnar.engine import Engine
from millstream.errors import ContractMismatch
from tests.millstream.columnar.drawn import (
    as_batch,
    damaged,
    judged,
    read_by_fastavro,
    same_batch,
    varint,
)

ENGINES: Final = ["kernel", "pyruhvro"]
LOAN = {
    "type": "record",
    "name": "Loan",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "age", "type": "int"},
        {"name": "rate", "type": ["null", "double"]},
    ],
}


def loan(row: int) -> bytes:
    """A good loan, framed."""
    name = f"loan-{row}".encode()
    rate = b"\x00" if row % 2 else b"\x02" + struct.pack("<d", row)
    return frame(3) + varint(len(name)) + name + varint(1000 * row) + varint(row) + rate


def covered(out: Decoded, count: int) -> None:
    """Rows and refusals cover the input exactly, each ascending."""
    refused = [refusal.row for refusal in out.refusals]
    assert sorted([*out.rows.tolist(), *refused]) == list(range(count))
    assert out.rows.tolist() == sorted(out.rows.tolist())
    assert refused == sorted(refused)
    assert out.columns.num_rows == len(out.rows)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=250, deadline=None, derandomize=True)
@given(damaged())
def test_few_rows_are_judged_as_avro_judges_them(
    engine: Engine, drawn: tuple[Any, list[bytes]]
) -> None:
    """Any schema and damage: the same rows and values as strict `avro`."""
    spec, bodies = drawn
    out = make_decoder(json.dumps(spec), engine=engine).decode(bodies)
    covered(out, len(bodies))
    verdicts = [judged(spec, body) for body in bodies]
    assert out.rows.tolist() == [i for i, verdict in enumerate(verdicts) if verdict is not None]
    good = [verdict for verdict in verdicts if verdict is not None]
    assert same_batch(out.columns, as_batch(spec, good))
    out.columns.validate(full=True)
    for row in out.rows.tolist():
        read_by_fastavro(spec, bodies[row])  # raises where it refuses what we took


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=250, deadline=None, derandomize=True)
@given(damaged(slow=False))
def test_many_rows_are_judged_as_few_rows_are(
    engine: Engine, drawn: tuple[Any, list[bytes]]
) -> None:
    """Any schema and damage: a batch says what the row reader says about its rows."""
    spec, bodies = drawn
    decoder = make_decoder(json.dumps(spec), engine=engine)
    few = make_decoder(json.dumps(spec), engine="pyruhvro").decode(bodies)
    times = FEW_ROWS + 1
    many = decoder.decode(bodies * times)
    covered(many, len(bodies) * times)
    many.columns.validate(full=True)
    assert same_batch(pa.concat_batches([few.columns] * times), many.columns)
    assert [(r.name, r.reason) for r in few.refusals] * times == [
        (r.name, r.reason) for r in many.refusals
    ]


@pytest.mark.parametrize("spoil", [lambda v: v[:-1], lambda v: v + b"\x00", lambda v: v[:3]])
@pytest.mark.parametrize("size", [1, FEW_ROWS, FEW_ROWS + 1, 2 * HALVED_ROWS_MIN + 1, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_one_bad_row_costs_none_of_its_neighbours(engine: Engine, size: int, spoil: Any) -> None:
    """One bad row, wherever it stands, is refused alone and the others keep their values."""
    decoder = make_decoder(json.dumps(LOAN), engine=engine)
    values = [loan(row) for row in range(size)]
    whole = decoder.decode(values, skip=5)
    assert whole.refusals == ()
    for bad in {0, size // 2, size - 1}:
        out = decoder.decode([*values[:bad], spoil(values[bad]), *values[bad + 1 :]], skip=5)
        covered(out, size)
        assert [refusal.row for refusal in out.refusals] == [bad]
        left = pa.concat_batches([whole.columns.slice(0, bad), whole.columns.slice(bad + 1)])
        assert same_batch(out.columns, left)


@pytest.mark.parametrize("engine", ENGINES)
def test_good_rows_keep_their_places_among_odd_and_bad_ones(engine: Engine) -> None:
    """Rows read by different readers come back in the order of the input."""
    decoder = make_decoder(json.dumps(LOAN), engine=engine)
    values = [loan(row) for row in range(300)]
    odd = loan(7).replace(varint(7000), varint(7000)[:-1] + bytes([varint(7000)[-1] | 0x80, 0]))
    for row in range(0, 300, 10):
        values[row] = odd  # legal, a varint longer than needed
        values[row + 5] = values[row + 5][:-1]  # unreadable
        values[row + 6] += b"\x00"
    out = decoder.decode(values, skip=5)
    covered(out, 300)
    assert len(out.refusals) == 60
    names = [f"loan-{7 if row % 10 == 0 else row}" for row in out.rows.tolist()]
    assert out.columns.column("id").to_pylist() == names


@pytest.mark.parametrize("size", [3, 500])
def test_a_batch_of_bad_rows_is_all_refusals_and_has_its_schema(size: int) -> None:
    """Where every row is bad there are no columns' values, but still the columns."""
    out = make_decoder(json.dumps(LOAN)).decode([b"\xff"] * size)
    covered(out, size)
    assert out.columns.num_rows == 0
    assert out.columns.schema.equals(arrow_schema(json.dumps(LOAN)))


def test_an_empty_batch_decodes_to_nothing() -> None:
    """No rows give no rows, with the reader's schema."""
    out = make_decoder(json.dumps(LOAN)).decode([])
    covered(out, 0)
    assert out.columns.schema.equals(arrow_schema(json.dumps(LOAN)))


def test_a_value_shorter_than_the_frame_is_truncated() -> None:
    """A value that ends within the skipped bytes is refused, not misread."""
    for times in (1, FEW_ROWS + 1):
        out = make_decoder(json.dumps(LOAN)).decode([b"\x00\x01"] * times, skip=5)
        assert {refusal.name for refusal in out.refusals} == {"truncated"}


def test_floats_that_are_no_number_come_through() -> None:
    """NaN, infinities and minus zero are values like any other; judging them is not decoding."""
    spec = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "a", "type": "double"}, {"name": "b", "type": "float"}],
    }
    decoder = make_decoder(json.dumps(spec))
    odd = [float("nan"), float("inf"), float("-inf"), -0.0]
    bodies = [struct.pack("<df", value, value) for value in odd]
    for times in (1, FEW_ROWS):
        out = decoder.decode(bodies * times)
        assert out.refusals == ()
        for column in out.columns.columns:
            assert list(map(repr, column.to_pylist())) == list(map(repr, odd)) * times


def test_the_reader_may_be_named_apart() -> None:
    """A reader schema decides the columns; a writer that cannot fit it is refused at once."""
    reader = LOAN | {"fields": [{"name": "age", "type": "long"}]}
    out = make_decoder(json.dumps(LOAN), json.dumps(reader)).decode([loan(4)], skip=5)
    assert out.columns.to_pylist() == [{"age": 4}]
    unfit = LOAN | {"fields": [{"name": "age", "type": "string"}]}
    with pytest.raises(ContractMismatch, match="field age is int"):
        make_decoder(json.dumps(LOAN), json.dumps(unfit))


def test_the_kernel_is_what_reads_by_default() -> None:
    """Without a word about it the kernel reads flat fields, and pyruhvro where one is nested."""
    assert isinstance(make_decoder(json.dumps(LOAN)), KernelDecoder)
    nested = LOAN | {"fields": [{"name": "a", "type": {"type": "array", "items": "long"}}]}
    assert not isinstance(make_decoder(json.dumps(nested)), KernelDecoder)


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_wanted_columns_are_made(engine: Engine) -> None:
    """The columns asked for come in the order asked; a row broken elsewhere is refused still."""
    fields = [*LOAN["fields"], {"name": "tags", "type": {"type": "array", "items": "string"}}]
    text = json.dumps(LOAN | {"fields": fields})
    decoder = make_decoder(text, columns=["age", "id"], engine=engine)
    tags = varint(1) + b"\x06ab\xff" + varint(0)
    good = [loan(row) + varint(1) + b"\x06abc" + varint(0) for row in range(40)]
    out = decoder.decode([*good, loan(40) + tags], skip=5)
    assert out.columns.to_pylist() == [{"age": row, "id": f"loan-{row}"} for row in range(40)]
    assert [(r.row, r.name) for r in out.refusals] == [(40, "bad_utf8")]
    assert isinstance(decoder, KernelDecoder) == (engine == "kernel")


@pytest.mark.parametrize("columns", [[], ["id", "id"], ["id", "nothing"]])
def test_columns_that_the_reader_lacks_do_not_fit(columns: list[str]) -> None:
    """No column, one twice, or an unknown one is an error of whoever asks."""
    with pytest.raises(ContractMismatch, match="not distinct fields"):
        make_decoder(json.dumps(LOAN), columns=columns)


def test_a_batch_too_large_for_its_offsets_is_read_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above the bound of 32-bit offsets a batch is halved, and nobody can tell."""
    decoder = make_decoder(json.dumps(LOAN))
    values = [loan(row) for row in range(500)]
    values[77] = values[77][:-1]
    values[401] = values[401][:-1]
    whole = decoder.decode(values, skip=5)
    for most in (20_000, 3_000, 10):
        monkeypatch.setattr("millstream.columnar.kernel_reader._OFFSET_MAX", most)
        parts = decoder.decode(values, skip=5)
        assert parts.columns.equals(whole.columns)
        assert parts.rows.tolist() == whole.rows.tolist()
        assert parts.refusals == whole.refusals
