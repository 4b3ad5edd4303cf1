"""What the sink takes for granted of ClickHouse, asked of the double and of chDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import numpy as np
import pyarrow as pa
import pytest

from consumers.warehouse import Tables, Warehouse, migrate
from millstream.doubles.tables import MemoryTables
from millstream.records import Records
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Block, Finding, Look, Pending, Source, judge
from millstream.warehouse.rows import LetterRows
from tests.streams import LOANS

JANUARY = int(datetime(2024, 1, 31, tzinfo=UTC).timestamp() * 1e6)
MARCH = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1e6)


@dataclass(frozen=True, slots=True)
class Candidate:
    """tables: as the sink sees them. delete: takes the rows of a source away, not the tokens."""

    tables: Tables
    delete: Callable[[Source], None]


@pytest.fixture(scope="module")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """chDB with the tables of a stream called loans."""
    folder = tmp_path_factory.mktemp("warehouse")
    warehouse = Warehouse.connect(WarehouseSettings(url=f"chdb:{folder / 'chdb'}"))
    migrate(warehouse, Stream.load(LOANS / "stream.toml"))
    yield warehouse
    warehouse.close()


@pytest.fixture(params=["memory", "chdb"])
def candidate(request: pytest.FixtureRequest) -> Candidate:
    """Each candidate in turn."""
    if request.param == "memory":
        memory = MemoryTables()
        return Candidate(cast(Tables, memory), memory.delete)
    warehouse: Warehouse = request.getfixturevalue("chdb")

    def delete(source: Source) -> None:
        warehouse.command(
            f"ALTER TABLE loans.{source.table} DELETE WHERE kafka_topic = '{source.topic}' "
            "SETTINGS mutations_sync = 1"
        )

    return Candidate(Tables(warehouse, "loans"), delete)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> Source:
    """A topic that no other test has."""
    return Source("dead_letters", request.node.name, 3)


def block(source: Source, first: int, last: int, stamp_us: int = JANUARY) -> Block:
    """The records first..last as the sink makes them a block."""
    count = last - first + 1
    records = Records(
        source.topic,
        [b"value"] * count,
        [b"key"] * count,
        np.full(count, source.partition, np.int32),
        np.arange(first, last + 1),
        np.full(count, stamp_us),
        {},
    )
    pending = Pending(source, first - 1)
    pending.add(LetterRows().rows(records), 0.0)
    return pending.cut(1_000)


def test_a_source_without_rows_has_no_mark(candidate: Candidate, source: Source) -> None:
    """Neither in the list of marks, nor asked alone, nor in a look."""
    assert candidate.tables.marks(source.table, source.topic) == {}
    assert candidate.tables.mark(source) is None
    assert candidate.tables.look(block(source, 0, 9)) == Look(None, 0)


def test_a_block_lands_whole(candidate: Candidate, source: Source) -> None:
    """Its last offset is the mark, and its range counts its rows."""
    made = block(source, 5, 9)
    candidate.tables.insert(made, 0)
    assert candidate.tables.marks(source.table, source.topic) == {3: 9}
    assert candidate.tables.mark(source) == 9
    assert candidate.tables.look(made) == Look(9, 5)
    assert judge(made, candidate.tables.look(made)) is Finding.LANDED


@pytest.mark.parametrize("last", [9, 7, 12], ids=["same", "shorter", "longer"])
def test_one_of_two_blocks_at_one_mark_lands(
    last: int, candidate: Candidate, source: Source
) -> None:
    """The second is acknowledged and dropped, whatever its length: a compare-and-swap."""
    candidate.tables.insert(block(source, 5, 9), 0)
    late = block(source, 5, last)
    candidate.tables.insert(late, 0)
    assert candidate.tables.mark(source) == 9
    assert judge(late, candidate.tables.look(late)) is (
        Finding.LANDED if last == 9 else Finding.OVERTAKEN
    )


def test_another_attempt_is_another_insert(candidate: Candidate, source: Source) -> None:
    """Two attempts double the rows: only what was counted back as absent may be tried again."""
    made = block(source, 0, 4)
    candidate.tables.insert(made, 0)
    candidate.tables.insert(made, 1)
    assert candidate.tables.look(made) == Look(4, 10)
    assert judge(made, candidate.tables.look(made)) is Finding.BROKEN


def test_a_token_outlives_its_rows(candidate: Candidate, source: Source) -> None:
    """An insert whose token is known is acknowledged though nothing is there: the hole that
    counting back finds. The next attempt lands, for one of two contenders."""
    made = block(source, 0, 4)
    candidate.tables.insert(made, 0)
    candidate.delete(source)
    candidate.tables.insert(made, 0)
    assert candidate.tables.look(made) == Look(None, 0)
    assert judge(made, candidate.tables.look(made)) is Finding.ABSENT
    candidate.tables.insert(made, 1)
    candidate.tables.insert(block(source, 0, 2), 1)
    assert candidate.tables.look(made) == Look(4, 5)


def test_a_token_counts_within_one_table_partition(candidate: Candidate, source: Source) -> None:
    """The same token in another month lands too: hence a block's month follows from its first
    record, which all contenders share."""
    candidate.tables.insert(block(source, 0, 4, JANUARY), 0)
    candidate.tables.insert(block(source, 0, 4, MARCH), 0)
    assert candidate.tables.look(block(source, 0, 4)).count == 10


def test_blocks_of_other_sources_do_not_meet(candidate: Candidate, source: Source) -> None:
    """Topic and partition are part of the token and of every look."""
    other = Source(source.table, source.topic, 4)
    candidate.tables.insert(block(source, 0, 4), 0)
    candidate.tables.insert(block(other, 0, 6), 0)
    assert candidate.tables.marks(source.table, source.topic) == {3: 4, 4: 6}


def test_of_two_blocks_cut_for_one_mark_one_lands(candidate: Candidate, source: Source) -> None:
    """Also where retention removed records that only one of them holds, so that they begin at
    different offsets; the other is overtaken."""
    candidate.tables.insert(block(source, 0, 4), 0)
    zombies, successors = block(source, 5, 9), replace(block(source, 7, 12), mark=4)
    candidate.tables.insert(zombies, 0)
    candidate.tables.insert(successors, 0)
    assert candidate.tables.look(zombies) == Look(9, 5)
    assert judge(successors, candidate.tables.look(successors)) is Finding.OVERTAKEN


def test_a_whole_block_comes_back_as_it_went(candidate: Candidate, source: Source) -> None:
    """A block of two months by its records lies in the month of the first, as one insert."""
    first, second = block(source, 0, 4, JANUARY), block(source, 5, 9, MARCH)
    pending = Pending(source)
    for part in (first, second):
        pending.add(part.rows.drop_columns(["kafka_block_time"]), 0.0)
    both = pending.cut(1_000)
    assert len(set(pa.compute.unique(both.rows.column("kafka_block_time")).to_pylist())) == 1
    candidate.tables.insert(both, 0)
    candidate.tables.insert(first, 0)
    assert candidate.tables.look(both) == Look(9, 10)
