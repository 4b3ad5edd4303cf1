"""ClickHouse as the sink sees it: the same tests over HTTP and in the process (chDB)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from pydantic import SecretStr

from consumers.warehouse import Tables, Warehouse, broken, migrate, require_tables
from millstream.contracts import topic_table
from millstream.errors import (
    ContractMismatch,
    DependencyUnavailable,
    InvariantBroken,
    OperatorNeeded,
    SettingsInvalid,
)
from millstream.letters import DeadLetter, to_headers
from millstream.records import TIME_US_MAX
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Block, Finding, Look, Pending, Source, judge
from millstream.warehouse.rows import LetterRows, contract_rows
from ops.faults.proxy import Proxy
from tests.consumers.warehouses import (
    PASSWORD,
    READY_S_MAX,
    avro,
    block_of,
    insert,
    records_of,
    serve,
    stream_in,
)


@pytest.fixture
def tables(warehouse: Warehouse, stream: Stream) -> Tables:
    """Its tables, made."""
    migrate(warehouse, stream)
    return Tables(warehouse, stream.name)


def _count(warehouse: Warehouse, stream: Stream) -> int:
    return int(warehouse.query(f"SELECT count() FROM {stream.name}.events")[0][0])


def test_migrating_twice_changes_nothing(warehouse: Warehouse, stream: Stream) -> None:
    """The first time says what it did, the second that there was nothing to do."""
    with pytest.raises(OperatorNeeded, match="ClickHouse lacks 001_events"):
        require_tables(warehouse, stream)
    first = migrate(warehouse, stream)
    assert first[:3] == ["001_events", "002_predictions", "003_dead_letters"]
    assert migrate(warehouse, stream) == []
    require_tables(warehouse, stream)
    comments = warehouse.query(
        "SELECT comment FROM system.columns WHERE database = {d:String} AND table = 'events' "
        "AND name = 'id'",
        d=stream.name,
    )
    assert comments == [("It's the id",)]


def test_a_migration_that_was_changed_is_refused(warehouse: Warehouse, stream: Stream) -> None:
    """Nothing is applied then."""
    migrate(warehouse, stream)
    warehouse.command(
        f"ALTER TABLE {stream.name}.migrations UPDATE digest = 'x' WHERE name = '001_events' "
        "SETTINGS mutations_sync = 1"
    )
    with pytest.raises(ContractMismatch, match="migration 001_events was applied"):
        migrate(warehouse, stream)


def test_an_inserted_block_is_found(warehouse: Warehouse, stream: Stream, tables: Tables) -> None:
    """By its mark and its count; before it there is none."""
    block = block_of(stream, 10, 100, partition=3)
    assert tables.look(block) == Look(None, 0)
    assert tables.marks("events", stream.topic("events")) == {}
    tables.insert(block, 0)
    assert tables.look(block) == Look(109, 100)
    assert judge(block, tables.look(block)) is Finding.LANDED
    assert tables.marks("events", stream.topic("events")) == {3: 109}
    assert tables.mark(block.source) == 109
    assert _count(warehouse, stream) == 100


def test_marks_are_of_one_topic_and_partition(stream: Stream, tables: Tables) -> None:
    """Others in the same table do not count."""
    tables.insert(block_of(stream, 0, 10, partition=0), 0)
    tables.insert(block_of(stream, 0, 20, partition=1), 0)
    assert tables.marks("events", stream.topic("events")) == {0: 9, 1: 19}
    assert tables.marks("events", "other.events") == {}
    assert tables.mark(Source("events", "other.events", 0)) is None


@pytest.mark.parametrize("count", [100, 60, 140], ids=["the same", "shorter", "longer"])
def test_of_two_blocks_at_one_mark_only_the_first_lands(
    warehouse: Warehouse, stream: Stream, tables: Tables, count: int
) -> None:
    """The token is a compare-and-swap on the mark, whatever the length of the second."""
    first, second = block_of(stream, 0, 100), block_of(stream, 0, count)
    tables.insert(first, 0)
    tables.insert(second, 0)
    assert _count(warehouse, stream) == 100
    wanted = Finding.LANDED if count == 100 else Finding.OVERTAKEN
    assert judge(second, tables.look(second)) is wanted


def test_another_attempt_has_a_token_of_its_own(
    warehouse: Warehouse, stream: Stream, tables: Tables
) -> None:
    """So it lands, where the first one's token was logged without its rows; were they there, the
    look finds the doubles."""
    block = block_of(stream, 0, 10)
    tables.insert(block, 0)
    tables.insert(block, 1)
    assert _count(warehouse, stream) == 20
    look = tables.look(block)
    assert judge(block, look) is Finding.BROKEN
    with pytest.raises(InvariantBroken, match=r"holds 20 rows .* offsets 0 to 9"):
        raise broken(block, look)


def test_a_block_is_one_part_across_the_end_of_a_month(
    warehouse: Warehouse, stream: Stream, tables: Tables
) -> None:
    """One part is there or not; two could be torn by a crash."""
    block = block_of(stream, 0, 4_000)  # begins a minute before February
    tables.insert(block, 0)
    months = warehouse.query(f"SELECT uniqExact(toYYYYMM(kafka_time)) FROM {stream.name}.events")
    parts = warehouse.query(
        "SELECT sum(rows), count() FROM system.parts WHERE database = {d:String} AND active "
        "AND table = 'events'",
        d=stream.name,
    )
    assert (months, parts) == ([(2,)], [(4_000, 1)])


_MICROS = {"type": "long", "logicalType": "timestamp-micros"}
_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
_TYPES: list[tuple[Any, Any, Any]] = [
    ("string", "β\x00☃", "β\x00☃"),
    ("bytes", b"\x00\xff", "00FF"),
    ("int", -(2**31), -(2**31)),
    ("long", 2**63 - 1, 2**63 - 1),
    ("float", float("inf"), float("inf")),
    ("double", -1.5e308, -1.5e308),
    ("boolean", True, True),
    (["null", "long"], None, None),
    ({"type": "int", "logicalType": "date"}, 1, "1970-01-02"),
    ({"type": "int", "logicalType": "date"}, 2**31 - 1, None),
    ({"type": "int", "logicalType": "time-millis"}, 86_399_999, 86_399_999),
    ({"type": "long", "logicalType": "time-micros"}, 86_399_999_999, 86_399_999_999),
    ({"type": "long", "logicalType": "timestamp-millis"}, -1, "1969-12-31 23:59:59.999"),
    (_MICROS, TIME_US_MAX, "2299-12-31 23:59:59.999999"),
    (_MICROS, 2**63 - 1, None),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, -(2**63), -(2**63)),
    ({"type": "string", "logicalType": "uuid"}, "no uuid", "no uuid"),
    (_DECIMAL, b"\xff\x85", "-1.23"),
    ({"type": "fixed", "name": "Four", "size": 4}, b"abcd", "abcd"),
    ({"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}, "BLUE", "BLUE"),
    (["null", "Colour"], "RED", "RED"),
]  # fmt: skip


def test_every_avro_type_is_read_back_as_it_was_published(
    warehouse: Warehouse, stream: Stream, tmp_path: Path
) -> None:
    """Extremes too; what ClickHouse cannot hold is null, and a hostile value stops nothing."""
    fields = [{"name": f"f{n}", "type": kind} for n, (kind, _, _) in enumerate(_TYPES)]
    wide = stream_in(tmp_path, stream.name, *fields)
    migrate(warehouse, wide)
    values = {"id": "1", "at": 0, "n": 1} | {f"f{n}": v for n, (_, v, _) in enumerate(_TYPES)}
    insert(warehouse, wide, [avro(wide.schema_of_event.text, values), b"unreadable"])
    columns = []
    for n, (kind, _, _) in enumerate(_TYPES):
        name = kind.get("logicalType", "") if isinstance(kind, dict) else str(kind)
        text = name in ("date", "timestamp-millis", "timestamp-micros", "decimal")
        columns.append(f"toString(f{n})" if text else f"hex(f{n})" if name == "bytes" else f"f{n}")
    good, bad = warehouse.query(
        f"SELECT {', '.join(columns)} FROM {stream.name}.events ORDER BY kafka_offset"
    )
    assert list(good) == [value for _, _, value in _TYPES]
    assert set(bad) == {None}


def test_rows_of_all_three_tables_are_taken(warehouse: Warehouse, stream: Stream) -> None:
    """Good records and those that are none: absent values take the columns' defaults."""
    migrate(warehouse, stream)
    tables = Tables(warehouse, stream.name)
    letter = DeadLetter(
        "t", 1, 2, "decode", "truncated", "short", 1, None, "m", "1", "2024-01-01T00:00:00+00:00"
    )
    topic = stream.topic("dead_letters")
    records = records_of(topic, [b"\xff", b"no letter"])
    records.headers[0] = to_headers(letter)
    for maker, made in (
        (LetterRows(), records),
        (
            contract_rows(stream, topic_table()["predictions"], _no_schema),
            records_of(stream.topic("predictions"), [b"x"]),
        ),
    ):
        pending = Pending(Source(maker.table, made.topic, 0))
        pending.add(maker.rows(made), 0.0)
        tables.insert(pending.cut(9), 0)
    rows = warehouse.query(
        "SELECT source_topic, source_offset, error, kafka_unreadable, refused_at "
        f"FROM {stream.name}.dead_letters ORDER BY kafka_offset"
    )
    start = datetime(1970, 1, 1, tzinfo=UTC)
    assert [row[:4] for row in rows] == [("t", 2, "truncated", ""), ("", 0, "", "not_a_letter")]
    times = [row[4].replace(tzinfo=UTC) for row in rows]
    assert times == [start + timedelta(days=19_723), start]
    rows = warehouse.query(
        f"SELECT event_id, score, scores, kafka_unreadable FROM {stream.name}.predictions"
    )
    assert [(row[0], row[1], list(row[2]), row[3]) for row in rows] == [
        ("", None, [], "not_framed")
    ]


def _no_schema(_: int) -> str:
    raise AssertionError("nothing is framed here")


def test_a_missing_table_or_column_is_the_operators(
    warehouse: Warehouse, stream: Stream, tables: Tables
) -> None:
    """The remedy is to migrate, whether it is read or written."""
    block = block_of(stream, 0, 3)
    wider = block.rows.append_column("nobody", pa.array([1, 2, 3]))
    nowhere = Block(Source("nothing", "t", 0), block.rows, -1)
    calls: list[Callable[[], object]] = [
        lambda: tables.look(nowhere),
        lambda: tables.insert(nowhere, 0),
        lambda: tables.insert(Block(block.source, wider, -1), 0),
        lambda: Tables(warehouse, "no_such_database").marks("events", "t"),
        lambda: warehouse.query("SELECT 1 FROM nowhere.nothing"),
    ]
    for call in calls:
        with pytest.raises(OperatorNeeded, match="ClickHouse: ") as caught:
            call()
        assert "\n" not in str(caught.value)
        assert "illstream " in caught.value.remedy


def test_a_wrong_password_is_the_operators(served: WarehouseSettings) -> None:
    """It is named by its variable, and not shown."""
    wrong = served.model_copy(update={"password": SecretStr("wrong-secret")})
    with pytest.raises(OperatorNeeded, match="MILLSTREAM_WAREHOUSE_") as caught:
        Warehouse.connect(wrong)
    assert "wrong-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_at_the_address_is_the_operators() -> None:
    """At the start; the address and the variable are named."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(SettingsInvalid, match="no ClickHouse answers at") as caught:
            Warehouse.connect(WarehouseSettings(url=url, timeout_s=2))
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8123",
        "ftp://h:1",
        "http://",
        "http://h:port",
        "http://h:99999",
        "http://[::1",
        "http://h/x",
    ],
)
def test_what_is_no_address_is_named(url: str) -> None:
    """With the forms that are."""
    with pytest.raises(SettingsInvalid, match="is no address of ClickHouse"):
        Warehouse.connect(WarehouseSettings(url=url))


@pytest.mark.parametrize(
    "url",
    ["http://me:hunter2@127.0.0.1:1", "http://127.0.0.1:1/?password=hunter2",
     "http://127.0.0.1:1#hunter2"],
)  # fmt: skip
def test_a_password_in_the_address_is_refused_unseen(url: str) -> None:
    """It would be in every line that names the address."""
    with pytest.raises(SettingsInvalid, match="holds a user or password") as caught:
        Warehouse.connect(WarehouseSettings(url=url))
    assert "hunter2" not in str(caught.value)


def test_a_folder_in_use_is_the_operators(tmp_path: Path) -> None:
    """By another process; asked from a third one, as this one has its folder open."""
    process, _ = serve(tmp_path)
    try:
        program = (
            "import sys\nfrom consumers.warehouse import Warehouse\n"
            "from millstream.errors import OperatorNeeded\n"
            "from millstream.settings import WarehouseSettings\n"
            "try:\n    Warehouse.connect(WarehouseSettings(url=sys.argv[1]))\n"
            "except OperatorNeeded as why:\n    sys.exit(f'said: {why}')\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program, f"chdb:{tmp_path / 'db'}"],
            capture_output=True,
            text=True,
            timeout=READY_S_MAX,
            check=False,
        )
    finally:
        process.terminate()
        process.wait(READY_S_MAX)
    assert ran.returncode == 1
    assert "said: ClickHouse: " in ran.stderr
    assert "Stop the other process" in ran.stderr


def test_a_server_that_goes_away_is_waited_for(tmp_path: Path, stream: Stream) -> None:
    """While running, it is no operator's error: what was asked may be asked again."""
    process, url = serve(tmp_path)
    settings = WarehouseSettings(
        url=url, username="default", password=SecretStr(PASSWORD), timeout_s=5
    )
    warehouse = Warehouse.connect(settings)
    migrate(warehouse, stream)
    process.kill()
    process.wait(READY_S_MAX)
    tables = Tables(warehouse, stream.name)
    with pytest.raises(DependencyUnavailable):
        tables.insert(block_of(stream, 0, 3), 0)
    with pytest.raises(DependencyUnavailable):
        tables.look(block_of(stream, 0, 3))
    warehouse.close()


def test_an_answer_that_breaks_off_is_clickhouses(served: WarehouseSettings) -> None:
    """Its connection is reset behind the first piece: what came is not all, and is not taken so."""
    with Proxy(urlsplit(served.url).port or 0) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        warehouse = Warehouse.connect(served.model_copy(update={"url": url}))
        try:
            pieces = warehouse.text("SELECT number FROM numbers(50000000)", "TSV", {}, {})
            assert next(pieces).startswith(b"0\n1\n2\n")
            assert proxy.reset() > 0
            with pytest.raises(DependencyUnavailable, match="the answer broke off"):
                for _ in pieces:
                    pass
        finally:
            warehouse.close()
