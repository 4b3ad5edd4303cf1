"""Event files of every format become batches of exactly the schema's types, or say what is bad."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from millstream.columnar import arrow_schema
from millstream.errors import ContractMismatch
from millstream.sources import EventFile, Layout


def schema(**fields: Any) -> str:
    made = [
        {"name": name, "type": kind[0], "default": kind[1]}
        if isinstance(kind, tuple)
        else {"name": name, "type": kind}
        for name, kind in fields.items()
    ]
    return json.dumps({"type": "record", "name": "Event", "fields": made})


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}


def rows(path: Path, avro: str, **layout: Any) -> list[dict[str, Any]]:
    """Every row of a file as a dict, after a check that the batches have the schema's types."""
    found: list[dict[str, Any]] = []
    for batch in EventFile(path, avro, Layout(**layout)).batches():
        assert batch.schema == arrow_schema(avro)
        assert 0 < batch.num_rows <= 10_000
        found += batch.to_pylist()
    return found


def csv(folder: Path, *lines: str, name: str = "events.csv") -> Path:
    path = folder / name
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def jsonl(folder: Path, *values: Any, name: str = "events.jsonl") -> Path:
    return csv(folder, *(v if isinstance(v, str) else json.dumps(v) for v in values), name=name)


def parquet(folder: Path, columns: Mapping[str, Any]) -> Path:
    path = folder / "events.parquet"
    pa_parquet.write_table(pa.table(dict(columns)), path)
    return path


def column(path: Path, kind: Any, **layout: Any) -> list[Any]:
    """The values of the only field, x."""
    return [row["x"] for row in rows(path, schema(x=kind), **layout)]


@pytest.mark.parametrize(
    ("kind", "cells", "values"),
    [
        ("int", ["37", "+37", "37.0", " 37 ", "-5"], [37, 37, 37, 37, -5]),
        ("long", ["9007199254740993"], [9007199254740993]),
        ("double", ["1.5", "1e3", "-inf", "7"], [1.5, 1000.0, -math.inf, 7.0]),
        ("float", ["1.5", "Infinity"], [1.5, math.inf]),
        ("boolean", ["true", "FALSE", "1", "0"], [True, False, True, False]),
        ("string", ["a", '" b,""c"""', '""', "37"], ["a", ' b,"c"', "", "37"]),
        (COLOUR, ["RED", "BLUE"], ["RED", "BLUE"]),
        ("bytes", ["a", '""'], [b"a", b""]),
        (["null", "int"], ["1", '""', "3"], [1, None, 3]),
        (["string", "null"], ["a", '""'], ["a", None]),
        ({"type": "int", "logicalType": "date"}, ["2024-02-29"], [date(2024, 2, 29)]),
    ],
)
def test_csv_cells_become_values(
    tmp_path: Path, kind: Any, cells: Sequence[str], values: Sequence[Any]
) -> None:
    """A CSV cell becomes the field's type; an empty one is null only where null is allowed."""
    assert column(csv(tmp_path, "x", *cells), kind) == values


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_csv_times(tmp_path: Path, name: str) -> None:
    """ISO 8601 with or without a zone and epochs may be mixed; no zone is UTC."""
    cells = [
        "2024-01-01T12:00:00",
        "2024-01-01 12:00:00Z",
        "2024-01-01T14:00:00.000000+02:00",
        "1704110400000000",
        "2024-01-01T12:00:00.000000999",
        "2024-01-01T07:00:00-0500",
    ]
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert column(csv(tmp_path, "x", *cells, name=name), MICROS) == [noon] * len(cells)


def test_csv_epochs_are_in_the_unit_of_the_field(tmp_path: Path) -> None:
    """An epoch is in milliseconds for timestamp-millis; finer digits of a time are cut off."""
    path = csv(tmp_path, "x", "1704110400123", "2024-01-01T12:00:00.123999", "2024-01-01")
    exact = datetime(2024, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    assert column(path, MILLIS) == [exact, exact, datetime(2024, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("kind", "cell", "reason"),
    [
        ("int", "abc", "'abc' is no int32"),
        ("int", "1.5", "'1.5' is no int32"),
        ("int", "0x1F", "'0x1F' is no int32"),
        ("int", "3000000000", "'3000000000' is no int32"),
        ("int", '""', "an empty cell is no int32"),
        ("double", "1,5", None),
        ("double", '"1,5"', "'1,5' is no double"),
        ("double", "1e999", "'1e999' is too large for double"),
        ("float", "1e39", "'1e39' is too large for float"),
        ("boolean", "yes", "'yes' is no bool"),
        (COLOUR, "GREEN", "'GREEN' is not one of RED, BLUE"),
        (MICROS, "yesterday", "'yesterday' is no time"),
        (MICROS, "2024-02-30", "'2024-02-30' is no time"),
        (MICROS, '""', "an empty cell is no time"),
        ({"type": "array", "items": "double"}, "1", "'1' is no list"),
    ],
)
def test_bad_csv_cells_are_named(tmp_path: Path, kind: Any, cell: str, reason: str | None) -> None:
    """The error names file, row, column and reason; a row of too many cells is one too."""
    path = csv(tmp_path, "y,x", "1,1" if kind in ("int", "double") else f"1,{cell}", f"1,{cell}")
    with pytest.raises(ContractMismatch) as caught:
        column(path, kind)
    row = 1 if kind in ("int", "double") else 0
    text = caught.value.problem
    assert text.startswith(f"{path}, row {row}")
    assert (", column x" in text and reason in text) if reason else "has 3 cells" in text
    assert "--skip-bad" in caught.value.remedy


def test_private_cells_are_not_quoted(tmp_path: Path) -> None:
    """The reason for a private field's cell does not show the cell."""
    path = csv(tmp_path, "x", "4111-1111")
    with pytest.raises(ContractMismatch) as caught:
        list(EventFile(path, schema(x="long"), private=["x"]).batches())
    assert "4111" not in str(caught.value)
    assert "its value is no int64" in str(caught.value)


def test_bytes_that_are_not_utf8_cost_one_row(tmp_path: Path) -> None:
    """A cell that is not UTF-8 is a bad cell like any other."""
    path = tmp_path / "events.csv"
    path.write_bytes(b"x\nok\n\xff\xfe\nfine\n")
    events = EventFile(path, schema(x="string"), Layout(skip_bad=True))
    assert [b.to_pylist() for b in events.batches()] == [[{"x": "ok"}, {"x": "fine"}]]
    assert (events.skipped, events.first_problem and events.first_problem.row) == (1, 1)


def test_skipping_counts_rows_and_keeps_numbers(tmp_path: Path) -> None:
    """Bad rows are left out and counted once each; the others keep their number in the file."""
    good = [n for n in range(25_000) if n % 997]
    lines = [f"{n},{n}" if n % 997 else ("torn" if n % 2 else "bad,bad") for n in range(25_000)]
    path = csv(tmp_path, "n,m", *lines)
    avro = schema(id="string", n="int", m="double")
    events = EventFile(path, avro, Layout(number=("id", "e"), skip_bad=True))
    found = [row for batch in events.batches() for row in batch.to_pylist()]
    assert [row["n"] for row in found] == good
    assert [row["id"] for row in found] == [f"e-{n}" for n in good]
    assert events.skipped == 25_000 - len(good)
    assert events.first_problem is not None
    assert (events.first_problem.row, events.first_problem.column) == (0, "n")


def test_first_bad_row_of_all_columns_is_reported(tmp_path: Path) -> None:
    """Without --skip-bad the first bad row in file order is named, whichever column it is in."""
    path = csv(tmp_path, "a,b", *["1,1"] * 50, "1,x", "x,1")
    with pytest.raises(ContractMismatch, match="row 50, column b"):
        rows(path, schema(a="int", b="int"))


def test_quoted_cells_may_hold_lines(tmp_path: Path) -> None:
    """A line end within quotes belongs to the cell; blank lines and a byte order mark are none."""
    path = tmp_path / "events.csv"
    path.write_bytes(b'\xef\xbb\xbfx,y\r\n"one\ntwo",1\r\n\r\n"three",2\r\n')
    found = rows(path, schema(id="int", x="string", y="int"), number=("id", ""))
    assert found == [{"id": 0, "x": "one\ntwo", "y": 1}, {"id": 1, "x": "three", "y": 2}]


def test_json_lines(tmp_path: Path) -> None:
    """JSON's own types are taken, text is read as a CSV cell is, null and absent are null."""
    avro = schema(i="int", d="double", b="boolean", s="string", t=MILLIS, n=["null", "double"])
    whole = {"i": 1, "d": 2, "b": True, "s": "x", "t": "2024-01-01T00:00:00Z", "n": 1.5}
    other = {"i": "7", "d": 0.5, "b": 0, "s": 17, "t": 1704067200000, "n": None, "extra": [1]}
    absent = {**whole, "d": "nan"}
    del absent["n"]
    path = jsonl(tmp_path, whole, "", other, absent, name="events.ndjson.gz")
    new_year = datetime(2024, 1, 1, tzinfo=UTC)
    found = rows(path, avro)
    assert found[0] == {"i": 1, "d": 2.0, "b": True, "s": "x", "t": new_year, "n": 1.5}
    assert found[1] == {"i": 7, "d": 0.5, "b": False, "s": "17", "t": new_year, "n": None}
    assert math.isnan(found[2]["d"])
    assert found[2]["n"] is None


def test_nested_json(tmp_path: Path) -> None:
    """Arrays come from JSON as they are."""
    kind = {"type": "array", "items": "double"}
    assert column(jsonl(tmp_path, {"x": [1, 2.5]}, {"x": []}), kind) == [[1.0, 2.5], []]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"x": 1', "no JSON"),
        ("[1]", "no JSON object"),
        ('{"y": 1}', "column x.*missing or null"),
        ('{"x": null}', "column x.*missing or null"),
        ('{"x": {}}', "column x.*is no int32"),
        ('{"x": 1.5}', "column x.*1.5 is no int32"),
        ('{"x": 1e400}', "column x.*inf is no int32"),
        ('{"x": 99999999999999999999999}', "column x.*is no int32"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_bad_json_lines_are_named(tmp_path: Path, line: str, reason: str) -> None:
    """A line that is no object, or has an unfit member, is refused by number; others go on."""
    path = jsonl(tmp_path, {"x": 0}, line, {"x": 2})
    with pytest.raises(ContractMismatch, match=rf"row 1.*{reason}"):
        column(path, "int")
    assert column(path, "int", skip_bad=True) == [0, 2]


def test_parquet(tmp_path: Path) -> None:
    """Parquet's types are brought to the schema's: widths, times of any unit, dictionaries."""
    avro = schema(
        i="int", d="double", s="string", t=MICROS, e=COLOUR, n=["null", "long"], b="boolean"
    )
    path = parquet(
        tmp_path,
        {
            "i": pa.array([1.0, 2.0]),
            "d": pa.array([1, 2], pa.int8()),
            "s": pa.array([10, 11], pa.uint16()),
            "t": pa.array([1_704_067_200_000_000_999, 0], pa.timestamp("ns", "Europe/Rome")),
            "e": pa.array(["RED", "BLUE"]).dictionary_encode(),
            "n": pa.array([None, 5], pa.int32()),
            "b": pa.array([0, 1], pa.int8()),
        },
    )
    first, second = rows(path, avro)
    assert first == {
        "i": 1,
        "d": 1.0,
        "s": "10",
        "t": datetime(2024, 1, 1, tzinfo=UTC),
        "e": "RED",
        "n": None,
        "b": False,
    }
    assert (second["t"], second["n"], second["b"]) == (datetime(1970, 1, 1, tzinfo=UTC), 5, True)


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (pa.array([1.5]), "int", "1.5 is no int32"),
        (pa.array([None], pa.float64()), "double", "it is missing or null"),
        (pa.array([1.5]), "string", "1.5 is no string but double"),
        (pa.array([2]), "boolean", "2 is neither 0 nor 1"),
        (pa.array([1e300]), "float", "1e[+]300 is too large for float"),
        (pa.array([datetime(2024, 1, 1)]), "long", "is no int64 but timestamp"),  # noqa: DTZ001
        (pa.array([True]), MICROS, "True is no time"),
        (pa.array([[1]]), "int", "is no int32"),
    ],
)
def test_bad_parquet_cells_are_named(tmp_path: Path, values: Any, kind: Any, reason: str) -> None:
    """What would lose or invent something is refused."""
    with pytest.raises(ContractMismatch, match=rf"row 0, column x.*{reason}"):
        column(parquet(tmp_path, {"x": values}), kind)


def test_row_ranges(tmp_path: Path) -> None:
    """A range is half open, counts from 0, and bad rows outside of it do not matter."""
    lines = [str(n) for n in range(30_000)]
    lines[5] = lines[29_000] = "bad"
    path = csv(tmp_path, "x", *lines)
    found = column(path, "int", start_row=9_999, stop_row=20_001)
    assert found == list(range(9_999, 20_001))
    table = parquet(tmp_path, {"x": pa.array(range(30_000))})
    assert column(table, "int", start_row=24_000) == list(range(24_000, 30_000))


def test_map_set_number_and_defaults(tmp_path: Path) -> None:
    """A field comes from its column, another, a constant, the row's number or the default."""
    avro = schema(
        id="string", when=MICROS, price="double", site="string", kind=(COLOUR, "BLUE"), row="long"
    )
    path = csv(tmp_path, "event_time,nswprice,label", "1996-05-07T00:00:00,0.5,1")
    events = EventFile(
        path,
        avro,
        Layout(
            columns={"when": "event_time", "price": "nswprice", "row": "label"},
            constants={"site": "NSW"},
            number=("id", "elec2"),
        ),
    )
    (batch,) = events.batches()
    assert batch.to_pylist() == [
        {
            "id": "elec2-0",
            "when": datetime(1996, 5, 7, tzinfo=UTC),
            "price": 0.5,
            "site": "NSW",
            "kind": "BLUE",
            "row": 1,
        }
    ]
    assert events.ignored == []


def test_other_columns_are_ignored_and_named(tmp_path: Path) -> None:
    """Columns that are no field are left out, whatever is in them, and named once."""
    events = EventFile(csv(tmp_path, "b,x,a", "?,1,\xff"), schema(x="int"))
    assert [batch.to_pylist() for batch in events.batches()] == [[{"x": 1}]]
    assert events.ignored == ["a", "b"]


def test_a_file_without_any_needed_column(tmp_path: Path) -> None:
    """Rows count even where every field is a constant or a number."""
    layout: dict[str, Any] = {"number": ("x", "e"), "constants": {"y": "7"}}
    avro = schema(x="string", y="int")
    wanted = [{"x": "e-0", "y": 7}, {"x": "e-1", "y": 7}]
    assert rows(csv(tmp_path, "z,z", "1,1", "2,2"), avro, **layout) == wanted
    assert rows(parquet(tmp_path, {"z": pa.array([1, 2])}), avro, **layout) == wanted
    assert rows(jsonl(tmp_path, {"z": 1}, {"z": 2}), avro, **layout) == wanted
