"""Blocks: what is cut, what makes two inserts the same, and what is true after one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.warehouse.blocks import (
    BLOCK_TIME,
    OFFSET,
    TIME,
    Block,
    Finding,
    Look,
    Pending,
    Source,
    judge,
)

SOURCE = Source("events", "loans.events", 3)
_START = datetime(2024, 1, 31, 23, 59, 58, tzinfo=UTC)


def _rows(*offsets: int) -> pa.Table:
    """A second from one offset to the next."""
    times = [_START + timedelta(seconds=offset % 100) for offset in offsets]
    return pa.table(
        {
            OFFSET: pa.array(offsets, pa.int64()),
            TIME: pa.array(times, pa.timestamp("us", "UTC")),
        }
    )


def _block(*offsets: int) -> Block:
    """Cut for the mark just below its first offset."""
    return Block(SOURCE, _rows(*offsets), offsets[0] - 1)


@pytest.mark.parametrize(
    ("mark", "count", "finding"),
    [
        (12, 3, Finding.LANDED),
        (None, 0, Finding.ABSENT),
        (9, 0, Finding.ABSENT),
        (11, 2, Finding.OVERTAKEN),
        (10, 1, Finding.OVERTAKEN),
        (20, 3, Finding.OVERTAKEN),
        (12, 2, Finding.BROKEN),
        (12, 4, Finding.BROKEN),
        (12, 0, Finding.BROKEN),
        (11, 1, Finding.BROKEN),
        (11, 3, Finding.BROKEN),
        (20, 2, Finding.BROKEN),
        (20, 6, Finding.BROKEN),
        (9, 1, Finding.BROKEN),
        (None, 1, Finding.BROKEN),
    ],
    ids=str,
)
def test_what_an_insert_came_to(mark: int | None, count: int, finding: Finding) -> None:
    """For a block of the offsets 10, 11 and 12: the mark and the count of its range decide."""
    assert judge(_block(10, 11, 12), Look(mark, count)) is finding


@pytest.mark.parametrize(
    ("mark", "count", "finding"),
    [
        (16, 3, Finding.LANDED),
        (9, 0, Finding.ABSENT),
        (13, 2, Finding.OVERTAKEN),
        (30, 3, Finding.OVERTAKEN),
        (16, 4, Finding.BROKEN),
        (16, 2, Finding.BROKEN),
        (13, 3, Finding.BROKEN),
    ],
)
def test_holes_that_transactions_leave_are_no_missing_rows(
    mark: int, count: int, finding: Finding
) -> None:
    """Markers take offsets and have no rows: here the offsets are 10, 13 and 16."""
    assert judge(_block(10, 13, 16), Look(mark, count)) is finding


@given(
    before=st.lists(st.integers(0, 40), unique=True, max_size=10),
    mine=st.sets(st.integers(50, 90), min_size=1, max_size=12),
    contender=st.integers(0, 12),
    lost=st.integers(0, 11),
    doubled=st.integers(0, 11),
    mischief=st.sampled_from(["none", "lost", "doubled"]),
)
def test_a_look_at_real_rows_is_never_misread(
    before: list[int],
    mine: set[int],
    contender: int,
    lost: int,
    doubled: int,
    mischief: str,
) -> None:
    """Any writer inserts a run of the topic's records from the mark on; one that broke this rule
    inside of the block's range is always found out."""
    offsets = sorted(mine)
    there = offsets[:contender] + ([95] if contender > len(offsets) else [])
    inside = [offset for offset in there if offset <= offsets[-1]]
    if mischief == "lost" and len(inside) > 1:
        del there[lost % (len(inside) - 1)]  # not the last: that is a shorter contender
    elif mischief == "doubled" and inside:
        there.append(inside[doubled % len(inside)])
    else:
        mischief = "none"
    rows = before + there
    count = sum(offsets[0] <= offset <= offsets[-1] for offset in rows)
    finding = judge(_block(*offsets), Look(max(rows, default=None), count))
    if mischief != "none":
        assert finding is Finding.BROKEN
    elif not there:
        assert finding is Finding.ABSENT
    else:
        assert finding is (Finding.LANDED if there == offsets else Finding.OVERTAKEN)


def test_contenders_at_one_mark_make_one_token() -> None:
    """Whatever the length of their blocks, so that ClickHouse takes only the first."""
    assert _block(10, 11, 12).token(0) == _block(10).token(0)
    assert _block(10, 11).token(0) == "events/loans.events/3/9/0"


def test_contenders_share_a_token_where_retention_took_records_that_one_of_them_holds() -> None:
    """The mark makes the token, not the first offset: only one of the two blocks lands."""
    blocks = []
    for offsets in ((10, 11, 12), (12, 13)):
        pending = Pending(SOURCE, 9)
        pending.add(_rows(*offsets), 0.0)
        blocks.append(pending.cut(9))
    assert blocks[0].token(0) == blocks[1].token(0)


def test_tokens_of_other_inserts_differ() -> None:
    """By table, topic, partition, mark and attempt."""
    block = _block(10, 11)
    others = [
        block.token(1),
        _block(11, 12).token(0),
        Block(Source("predictions", "loans.events", 3), block.rows, 9).token(0),
        Block(Source("events", "other.events", 3), block.rows, 9).token(0),
        Block(Source("events", "loans.events", 4), block.rows, 9).token(0),
    ]
    assert len({block.token(0), *others}) == 6


def test_a_block_is_cut_from_the_first_rows() -> None:
    """In order, at most so many; what waits stays until it is dropped."""
    pending = Pending(SOURCE)
    pending.add(_rows(1, 2), 5.0)
    pending.add(_rows(3, 7, 8), 6.0)
    block = pending.cut(4)
    assert block.offsets.tolist() == [1, 2, 3, 7]
    assert (block.first, block.last, pending.rows) == (1, 7, 5)
    assert pending.cut(100).offsets.tolist() == [1, 2, 3, 7, 8]


def test_a_block_lies_in_one_table_partition_whatever_its_length() -> None:
    """All rows carry the first one's time, also across the end of a month; so do contenders'."""
    pending = Pending(SOURCE)
    pending.add(_rows(0, 1, 2, 3), 0.0)
    whole, short = pending.cut(4).rows, pending.cut(1).rows
    assert whole.column(BLOCK_TIME).unique().to_pylist() == [_START]
    assert short.column(BLOCK_TIME).unique().to_pylist() == [_START]
    assert whole.column(TIME)[3].as_py().month != whole.column(BLOCK_TIME)[3].as_py().month


@given(
    sizes=st.lists(st.integers(0, 5), max_size=6),
    rows_max=st.integers(1, 7),
    contender=st.integers(0, 4),
)
def test_cutting_and_dropping_loses_and_doubles_nothing(
    sizes: list[int], rows_max: int, contender: int
) -> None:
    """Every row leaves in exactly one block, wherever another writer has moved the mark."""
    pending, offset = Pending(SOURCE), 0
    for number, size in enumerate(sizes):
        pending.add(_rows(*range(offset, offset + size)), float(number))
        offset += size
    pending.drop_through(contender - 1)
    taken = list(range(min(contender, offset)))
    while pending.rows:
        block = pending.cut(rows_max)
        taken += block.offsets.tolist()
        pending.drop_through(block.last)
        assert pending.rows == offset - len(taken)
        assert (pending.bytes > 0) == (pending.rows > 0)
    assert taken == list(range(offset))


def test_rows_that_are_there_already_are_forgotten() -> None:
    """Up to the mark, in the middle of a part too."""
    pending = Pending(SOURCE)
    pending.add(_rows(1, 2), 5.0)
    pending.add(_rows(3, 7, 8), 6.0)
    pending.drop_through(4)
    assert (pending.rows, pending.cut(9).offsets.tolist()) == (2, [7, 8])
    pending.drop_through(100)
    assert (pending.rows, pending.bytes, pending.parts) == (0, 0, [])


def test_since_is_when_the_oldest_row_in_hand_came() -> None:
    """So that a small rest behind a full block waits its own time."""
    pending = Pending(SOURCE)
    pending.add(_rows(), 1.0)
    pending.add(_rows(1, 2), 5.0)
    pending.add(_rows(3), 6.0)
    assert pending.since == 5.0
    pending.drop_through(1)
    assert pending.since == 5.0
    pending.drop_through(2)
    assert pending.since == 6.0
    pending.clear()
    assert (pending.rows, pending.bytes) == (0, 0)
    pending.add(_rows(4), 9.0)
    assert pending.since == 9.0


def test_offsets_come_as_numbers() -> None:
    """int64, ascending."""
    offsets = _block(10, 2**62).offsets
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [10, 2**62]
