"""Rows of features as texts of tuples, read as the event schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millstream.columnar import arrow_schema
from millstream.functions.features import FeatureRows
from millstream.stream import Stream

_US = {"type": "long", "logicalType": "timestamp-micros"}
_FIELDS: dict[str, Any] = {
    "whole": "int",
    "wide": ["null", "double"],
    "narrow": "float",
    "yes": "boolean",
    "text": ["null", "string"],
    "kind": {"type": "enum", "name": "K", "symbols": ["red", "blue"]},
}


def stream_of(folder: Path, names: list[str]) -> Stream:
    """A stream with these features."""
    fields = [{"name": name, "type": kind} for name, kind in _FIELDS.items()]
    own = [{"name": "id", "type": "string"}, {"name": "t", "type": _US}, *fields]
    (folder / "e.avsc").write_text(json.dumps({"type": "record", "name": "E", "fields": own}))
    order = ", ".join(f'"{name}"' for name in names)
    texts = [f'"{name}"' for name in names if name in ("text", "kind")]
    (folder / "stream.toml").write_text(
        'name = "s"\n[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "t"\n'
        f"[features]\norder = [{order}]\ncategories = [{', '.join(texts)}]\n"
        '[label]\nkind = "binary"\n[model]\nbundle = "b"\n'
    )
    return Stream.load(folder / "stream.toml")


def test_each_cell_is_what_the_schema_says_of_its_field(tmp_path: Path) -> None:
    """In the decoder's own types."""
    stream = stream_of(tmp_path, list(_FIELDS))
    row = b"(7,0.1,0.1,true,'a,(b)\\'c\\\\','blue')"
    read = FeatureRows(stream).read([row])
    assert (read.rows.tolist(), read.refusals) == ([0], [])
    whole = arrow_schema(stream.schema_of_event.text)
    assert read.columns.schema.types == [whole.field(name).type for name in _FIELDS]
    assert read.columns.to_pylist() == [
        {
            "whole": 7,
            "wide": 0.1,
            "narrow": pa.scalar(0.1, pa.float32()).as_py(),
            "yes": True,
            "text": "a,(b)'c\\",
            "kind": "blue",
        }
    ]


def test_nulls_and_texts_that_look_like_them_differ(tmp_path: Path) -> None:
    """Quotes make a text; escapes are ClickHouse's."""
    reader = FeatureRows(stream_of(tmp_path, ["text", "wide"]))
    rows = [b"(NULL,NULL)", b"('NULL',1)", b"('',-0)", b"('a\\n\\t\\0''b',nan)", b"('x', -inf)"]
    read = reader.read(rows)
    assert not read.refusals
    assert read.columns.column("text").to_pylist() == [None, "NULL", "", "a\n\t\0'b", "x"]
    found = read.columns.column("wide").to_pylist()
    assert str(found) == "[None, 1.0, -0.0, nan, -inf]"


def test_one_feature_is_a_tuple_too(tmp_path: Path) -> None:
    """With or without the comma behind it."""
    reader = FeatureRows(stream_of(tmp_path, ["whole"]))
    assert reader.read([b"(1)", b"(2,)"]).columns.column("whole").to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"1,2", "no tuple"),
        (b"", "no tuple"),
        (b"(1)", "1 features are given, the stream has 2"),
        (b"(1,2,3)", "3 features are given"),
        (b"((1,2),3)", "neither a number nor a text"),
        (b"([1,2],3)", "neither a number nor a text"),
        (b"('a,1)", "neither a number nor a text"),
        (b"('a'b,1)", "neither a number nor a text"),
        (b"('\xff',1)", "not UTF-8"),
        (b"(NULL,1)", "field whole: it is missing or null"),
        (b"(1.5,1)", "field whole: its value is no int32"),
        (b"(3000000000,1)", "field whole: its value is no int32"),
        (b"(1,x)", "field wide: its value is no double"),
        (b"(1,1e999)", "field wide: its value is too large"),
    ],
)
def test_what_does_not_fit_is_refused_and_its_neighbours_are_not(
    text: bytes, says: str, tmp_path: Path
) -> None:
    """The reason never quotes the value."""
    read = FeatureRows(stream_of(tmp_path, ["whole", "wide"])).read([b"(1,2)", text, b"(3,NULL)"])
    assert read.rows.tolist() == [0, 2]
    assert read.columns.to_pylist() == [{"whole": 1, "wide": 2.0}, {"whole": 3, "wide": None}]
    (refusal,) = read.refusals
    assert (refusal.row, refusal.stage) == (1, "decode")
    assert says in refusal.reason


def test_a_chunk_of_nothing_but_refused_rows_has_columns(tmp_path: Path) -> None:
    """And one of no rows."""
    reader = FeatureRows(stream_of(tmp_path, ["whole", "wide"]))
    for rows in ([], [b"x"], [b"(NULL,1)"]):
        read = reader.read(rows)
        assert (read.columns.num_rows, len(read.refusals)) == (0, len(rows))
        assert read.columns.schema.names == ["whole", "wide"]
