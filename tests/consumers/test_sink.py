"""The sink's tables of contract topics, on a real ClickHouse engine over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from consumers.warehouse import Tables, Warehouse, migrate, require_tables
from millstream.contracts import SCHEMAS, Topic, contract, topic_table
from millstream.errors import OperatorNeeded
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Finding, Pending, Source, judge
from millstream.warehouse.rows import row_makers
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, records_of, serve, stream_in

_OF_A_CONTRACT = [
    topic
    for topic in topic_table().values()
    if topic.table and (SCHEMAS / "golden" / f"{topic.value}.v1.hex").is_file()
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A server of this file."""
    process, url = serve(tmp_path_factory.mktemp("served"))
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    made = Warehouse.connect(settings)
    yield made
    made.close()
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """A stream whose database no other test has."""
    return stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}")


def _land(warehouse: Warehouse, stream: Stream, topic: Topic, values: list[bytes | None]) -> None:
    """These records' rows, by way of the maker that the sink has for their topic."""
    assert topic.table is not None
    name = topic.name(stream.name)
    maker = row_makers(stream, lambda _: contract(topic.value).text, {topic.kind})[name]
    assert maker.table == topic.table
    pending = Pending(Source(topic.table, name, 0))
    pending.add(maker.rows(records_of(name, values)), 0.0)
    block = pending.cut(len(values))
    tables = Tables(warehouse, stream.name)
    for _ in range(2):  # the second is the replay of a sink that died
        tables.insert(block, 0)
        assert judge(block, tables.look(block)) is Finding.LANDED


def _golden(subject: str) -> list[bytes | None]:
    newest = max((SCHEMAS / "golden").glob(f"{subject}.v*.hex"), key=lambda path: path.name)
    lines = newest.read_text("utf-8").split()
    return [bytes.fromhex(line) for line in lines]


@pytest.mark.parametrize("topic", _OF_A_CONTRACT, ids=lambda topic: str(topic.kind))
def test_every_contract_topic_lands_in_its_table_once(
    warehouse: Warehouse, stream: Stream, topic: Topic
) -> None:
    """Whatever topics.toml, the contracts and the SQL files say: all golden records and one that
    cannot be read are rows, and a block that is inserted again adds none."""
    migrate(warehouse, stream)
    values = [*_golden(topic.value), b"not framed"]
    _land(warehouse, stream, topic, values)
    rows = warehouse.query(
        f"SELECT kafka_offset, kafka_unreadable FROM {stream.name}.{topic.table} ORDER BY 1"
    )
    assert rows == [*((n, "") for n in range(len(values) - 1)), (len(values) - 1, "not_framed")]


def test_labelled_now_shows_the_newest_version_of_each_prediction(
    warehouse: Warehouse, stream: Stream
) -> None:
    """One row a prediction, whatever was repeated; unreadable records are none."""
    migrate(warehouse, stream)
    golden = _golden("labelled")
    _land(warehouse, stream, topic_table()["labelled"], [*golden, *golden, b"not framed"])
    rows = warehouse.query(
        "SELECT id, version, status, label, value, known_at IS NULL "
        f"FROM {stream.name}.labelled_now"
    )
    assert sorted(rows) == [
        ("0/9007199254740993/7", 7, "corrected", None, -0.1, 0),
        ("3/812/1", 1, "labelled", "1", None, 0),
        ("9999/0/1", 1, "never_labelled", None, None, 1),
    ]


def test_a_table_is_not_asked_for_where_its_topic_is_not_there(
    warehouse: Warehouse, stream: Stream
) -> None:
    """A stream of an older version runs on; the tables of its topics must be there as ever."""
    migrate(warehouse, stream)
    warehouse.command(
        f"ALTER TABLE {stream.name}.migrations DELETE WHERE name IN "
        "('004_labelled', '003_dead_letters') SETTINGS mutations_sync = 1"
    )
    with pytest.raises(OperatorNeeded, match="lacks 003_dead_letters, 004_labelled of"):
        require_tables(warehouse, stream)
    with pytest.raises(OperatorNeeded, match="lacks 003_dead_letters of"):
        require_tables(warehouse, stream, {"labelled"})
    migrate(warehouse, stream)
    require_tables(warehouse, stream, {"labelled"})
