"""Plans as operations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millstream.columnar import kernel_read as k
from millstream.columnar.program import Program, compiled
from millstream.columnar.resolve import resolve_records
from millstream.columnar.schema import parse_record, record_columns


def program(*types: Any, read: list[str] | None = None) -> Program | None:
    """The program of a record with these fields, f0 and on; read: names of those that are kept."""
    fields = [{"name": f"f{i}", "type": of} for i, of in enumerate(types)]
    spec = {"type": "record", "name": "R", "fields": fields}
    kept = [f for f in fields if read is None or f["name"] in read]
    writer, reader = (parse_record(json.dumps(spec | {"fields": fs})) for fs in (fields, kept))
    return compiled(resolve_records(writer, reader), record_columns(reader))


def ops(made: Program | None) -> list[list[int]]:
    """The operations."""
    assert made is not None
    words, size = made.words.tolist(), k.OP_BYTES // 8
    first = words[k.OPS]
    return [words[first + size * i : first + size * (i + 1)] for i in range(words[k.OPS_COUNT])]


def test_neighbouring_doubles_are_one_operation() -> None:
    """Thirty doubles are one run; a field of another type or a dropped one ends it."""
    assert [op[:3] for op in ops(program(*["double"] * 30))] == [[k.DOUBLES, 0, 30]]
    made = ops(program("double", "double", "int", "double"))
    assert [op[0] for op in made] == [k.DOUBLES, k.INTEGER, k.DOUBLES]
    made = ops(program("double", "double", "double", read=["f0", "f2"]))
    assert [op[:3] for op in made] == [[k.DOUBLES, 0, 1], [k.SKIP, -1, 8], [k.DOUBLES, 1, 1]]


def test_nothing_joins_what_a_jump_may_pass_over() -> None:
    """A number after a nullable one is an operation of its own, kept or not."""
    made = ops(program(["null", "double"], "double", "double"))
    assert [op[0] for op in made] == [k.UNION, k.DOUBLES, k.DOUBLES]
    assert made[0][5] == 2
    made = ops(program("int", ["null", "double"], "double", "double", read=["f0"]))
    assert [op[:3] for op in made[2:]] == [[k.SKIP, -1, 8], [k.SKIP, -1, 16]]


@pytest.mark.parametrize(
    "of",
    [
        {"type": "array", "items": "long"},
        {"type": "map", "values": "long"},
        {"type": "record", "name": "I", "fields": [{"name": "a", "type": "long"}]},
    ],
)
def test_nested_fields_are_passed_over_but_not_made(of: Any) -> None:
    """There is a program while no array, map or record is wanted."""
    assert program("int", of) is None
    assert program("int", ["null", of]) is None
    assert program("int", of, read=["f0"]) is not None


def test_a_batch_without_buffers_is_not_for_the_kernel() -> None:
    """A schema of nulls has no program."""
    assert program("null") is None
