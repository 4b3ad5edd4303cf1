"""Event files that do not fit, are damaged or empty; how many rows a file has, its first events."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millstream.columnar import Encoder, make_decoder
from millstream.errors import ContractMismatch, SettingsInvalid
from millstream.sources import EventFile, Layout, first_events
from tests.millstream.test_sources import (
    COLOUR,
    MILLIS,
    column,
    csv,
    jsonl,
    parquet,
    schema,
)


@pytest.mark.parametrize(
    ("layout", "problem"),
    [
        ({"columns": {"pric": "a"}}, "no field pric .did you mean price"),
        ({"constants": {"nothing": "a"}}, "no field nothing"),
        ({"number": ("price", "p")}, "price, which is a double"),
        ({"constants": {"price": "dear"}}, "'dear' is no double"),
        ({"constants": {"id": "a"}, "number": ("id", "p")}, "id is given twice"),
        ({"start_row": 5, "stop_row": 5}, "--stop-row 5"),
    ],
)
def test_wrong_layouts(tmp_path: Path, layout: dict[str, Any], problem: str) -> None:
    """An option that fits no field is refused before a row is read."""
    path = csv(tmp_path, "id,price", "a,1")
    with pytest.raises(SettingsInvalid, match=problem):
        EventFile(path, schema(id="string", price="double"), Layout(**layout))


def test_missing_columns_name_the_nearest(tmp_path: Path) -> None:
    """A column that the schema needs and the file lacks is named with what to do."""
    with pytest.raises(ContractMismatch) as caught:
        EventFile(csv(tmp_path, "prices", "1"), schema(price="double"))
    assert "has no column price (did you mean prices?)" in caught.value.problem
    assert "--map price=COLUMN" in caught.value.remedy


def test_doubled_columns_are_refused(tmp_path: Path) -> None:
    """Two columns of one name leave open which is meant."""
    with pytest.raises(ContractMismatch, match="more than one column x"):
        column(csv(tmp_path, "x,x", "1,2"), "int")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("events.csv", b""),
        ("events.csv.gz", b"not gzip"),
        ("events.csv.gz", gzip.compress(b"x\n" + b"1\n" * 100_000)[:-40]),
        ("events.jsonl.gz", gzip.compress(b'{"x": 1}\n' * 100_000)[:-40]),
        ("events.jsonl.gz", b"not gzip"),
        ("events.parquet", b"PAR1 no more"),
        ("events.parquet", b""),
        ("events.csv", b"x\n" + b"1" * 20_000_000),
        ("events.jsonl", b'{"x": ' + b"1" * 9_000_000),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes) -> None:
    """A file that is not what its name says is refused in one line that names it."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ContractMismatch) as caught:
        column(path, "int", skip_bad=True)
    assert str(path) in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.csv", "events.txt", "events.parquet.gz"])
def test_unknown_files(tmp_path: Path, name: str) -> None:
    """A missing file and an unknown ending are the operator's to mend."""
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SettingsInvalid):
        EventFile(tmp_path / name, schema(x="int"))


def test_a_header_alone_is_no_rows(tmp_path: Path) -> None:
    """A file without rows gives no batches."""
    assert column(csv(tmp_path, "x"), "int") == []
    assert column(parquet(tmp_path, {"x": pa.array([], pa.int32())}), "int") == []


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet"])
def test_rows_are_estimated(tmp_path: Path, kind: str) -> None:
    """The estimate is exact for small files, and heeds the range."""
    numbers = [str(n) for n in range(500)]
    if kind == "parquet":
        path = parquet(tmp_path, {"x": pa.array(range(500))})
    elif kind == "jsonl":
        path = jsonl(tmp_path, *[{"x": n} for n in range(500)])
    else:
        path = csv(tmp_path, "x", *numbers, name=f"events.{kind}")
    assert EventFile(path, schema(x="int")).rows_estimate() == 500
    ranged = Layout(start_row=100, stop_row=150)
    assert EventFile(path, schema(x="int"), ranged).rows_estimate() == 50


def test_first_events(tmp_path: Path) -> None:
    """A limit cuts the last batch."""
    path = csv(tmp_path, "x", *[str(n) for n in range(25_000)])
    batches = EventFile(path, schema(x="int")).batches()
    assert [batch.num_rows for batch in first_events(batches, 15_000)] == [10_000, 5_000]


def test_batches_encode(tmp_path: Path) -> None:
    """A batch is what the encoder wants, and decodes to the same rows."""
    avro = schema(s=["null", "string"], t=MILLIS, e=COLOUR, d="double", b="bytes")
    path = csv(tmp_path, "s,t,e,d,b", *["a,1704067200000,RED,0.1,q", ",0,BLUE,nan,"] * 10)
    (batch,) = EventFile(path, avro).batches()
    again = make_decoder(avro).decode(Encoder(avro).encode(batch))
    assert not again.refusals
    assert str(again.columns.to_pylist()) == str(batch.to_pylist())
