"""The Confluent frame."""

from __future__ import annotations

import numpy as np
import pytest

from millstream.columnar import FRAME_BYTES, MAGIC, frame, split_frames
from millstream.errors import Stage


def test_a_frame_is_a_zero_byte_and_the_id_big_endian() -> None:
    """A frame is a zero byte and the schema id, big-endian, in four bytes."""
    assert frame(258) == b"\x00\x00\x00\x01\x02"
    assert len(frame(2**32 - 1)) == FRAME_BYTES
    assert frame(0)[:1] == MAGIC


@pytest.mark.parametrize("schema_id", [-1, 2**32])
def test_an_id_of_more_than_four_bytes_is_an_error(schema_id: int) -> None:
    """An id that does not fit four bytes raises ValueError."""
    with pytest.raises(ValueError, match="four bytes"):
        frame(schema_id)


def test_a_batch_of_one_schema_is_one_group() -> None:
    """Rows that share an id form one group of all rows."""
    framed = split_frames([frame(7) + b"a", frame(7), frame(7) + b"longer"])
    assert framed.refusals == ()
    assert list(framed.groups) == [7]
    assert framed.groups[7].dtype == np.int64
    assert framed.groups[7].tolist() == [0, 1, 2]


def test_several_ids_are_several_groups() -> None:
    """Rows with different ids are grouped, each group ascending."""
    framed = split_frames([frame(1), frame(2), frame(1), frame(2)])
    assert {key: rows.tolist() for key, rows in framed.groups.items()} == {1: [0, 2], 2: [1, 3]}


def test_rows_without_a_frame_are_refused_and_the_others_grouped() -> None:
    """Null, empty, short and foreign values are refused by name; the others are grouped."""
    values = [None, b"", b"\x00\x00", b"{}\n{}{}", frame(3) + b"x", b"\x01" + frame(3), b"\x00" * 4]
    framed = split_frames(values)
    assert [(r.row, r.name) for r in framed.refusals] == [
        (0, "empty_value"),
        (1, "empty_value"),
        (2, "not_framed"),
        (3, "not_framed"),
        (5, "not_framed"),
        (6, "not_framed"),
    ]
    assert all(refusal.stage is Stage.FRAME for refusal in framed.refusals)
    assert {key: rows.tolist() for key, rows in framed.groups.items()} == {3: [4]}


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00", b"hello world"])
def test_a_batch_of_equal_bad_values_is_refused_row_by_row(value: bytes) -> None:
    """Equal heads that are no frame are not taken for the fast path."""
    framed = split_frames([value] * 3)
    assert framed.groups == {}
    assert [refusal.row for refusal in framed.refusals] == [0, 1, 2]


def test_an_empty_batch_has_no_groups() -> None:
    """No rows give no groups and no refusals."""
    framed = split_frames([])
    assert (framed.groups, framed.refusals) == ({}, ())
