"""The fuzz finds no difference, and would find one."""

from __future__ import annotations

import json
from random import Random

import pyarrow as pa
import pytest

from millstream.columnar import kernel_read
from ops.fuzz.draw import record, schema
from ops.fuzz.guarded import Guarded
from ops.fuzz.run import Counts, Disagreement, _Pair, _same, fuzz

SPEC = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "boolean"}],
}


def test_both_readers_agree_about_damaged_records() -> None:
    """A few thousand records of many schemas, every kind of damage and of refusal among them."""
    counts = Counts()
    read = sum(fuzz(7, 24_000, counts))
    assert read == counts.records == counts.good + counts.refused.total() == 24_000
    assert counts.good > 1_000
    assert set(counts.refused) >= {
        "truncated", "trailing_bytes", "bad_union_branch", "out_of_range", "bad_utf8",
        "bad_varint", "bad_length", "bad_enum_index", "bad_boolean", "int_out_of_range",
    }  # fmt: skip


@pytest.mark.parametrize("spoilt", ["limits", "places"])
def test_a_reader_that_is_wrong_is_found(spoilt: str) -> None:
    """A kernel that takes too much, or keeps a value in the wrong width, is a disagreement."""
    pair = _Pair(SPEC, Random(4), "here")
    assert pair.kernel is not None
    words = pair.kernel._words
    first = words[kernel_read.OPS]
    assert words[first] == kernel_read.INTEGER
    memory, arena = Guarded(1 << 16), Guarded(1 << 16)
    pair.compare([b"\x02\x01"], memory, arena, Counts())
    if spoilt == "limits":
        words[first + 3] = 2**40
        body = b"\x80\x80\x80\x80\x10\x01"
    else:
        words[first + 4] = kernel_read.AS_FLOAT
        body = b"\x02\x01"
    with pytest.raises(Disagreement, match="here"):
        pair.compare([body], memory, arena, Counts())


def test_lists_are_compared_by_their_lengths_and_values() -> None:
    """NaN in a list is the same as NaN there; a value, a length or a null more is not."""
    nan = float("nan")
    rows = [[1.0, nan], None, [], [2.0]]
    made = pa.array(rows, pa.list_(pa.float64()))
    assert _same(made, pa.array(rows, pa.list_(pa.float64())))
    for other in (
        [[1.0, 3.0], None, [], [2.0]],
        [[1.0], None, [nan], [2.0]],
        [*rows[:1], [], [], [2.0]],
    ):
        assert not _same(made, pa.array(other, pa.list_(pa.float64())))


def test_a_seed_draws_the_same_again() -> None:
    """Schemas and records depend on the seed alone."""
    first, again = (schema(Random("1-5")) for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    assert record(Random(3), first) == record(Random(3), again)
