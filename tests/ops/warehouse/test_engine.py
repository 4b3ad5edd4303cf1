"""ops/warehouse/engine.py: inserts whose outcome the engine does not report."""

from __future__ import annotations

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.ops.warehouse.conftest import Served
from tests.ops.warehouse.test_app import client, table


def test_an_insert_that_the_engine_dropped_is_an_error(served: Served) -> None:
    """Too many parts: the engine's insert from memory ends well and writes nothing. From a file it
    has its reason; with settings in the statement it cannot be that, and the client still knows."""
    name = table(served, "crowded")
    served.read(f"ALTER TABLE {name} MODIFY SETTING parts_to_throw_insert = 1")
    served.read(f"INSERT INTO {name} FORMAT TSV\n1\ta\n")
    for data in (b"FORMAT TSV\n2\tb\n", b"VALUES (2, 'b')", b"FORMAT RowBinary\n" + b"\2" * 11):
        answer = served.ask(f"INSERT INTO {name} ".encode() + data)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "252")
        assert "Too many parts" in answer.text
        answer = served.ask(f"INSERT INTO {name} SETTINGS async_insert = 0 ".encode() + data)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "1002")
        assert "wrote no row and gave no reason" in answer.text
    with client(served) as connect, pytest.raises(DatabaseError) as failed:
        connect.insert(name, [[2, "b"]])
    assert failed.value.code == 252
    assert served.read(f"SELECT n, s FROM {name}") == "1\ta"


def test_an_insert_without_rows_is_no_error(served: Served) -> None:
    """No rows, in any format, is written well; so is a block that is already there."""
    name = table(served, "quiet")
    empty = pa.table({"n": pa.array([], pa.uint64()), "s": pa.array([], pa.string())})
    with client(served) as connect:
        connect.insert_arrow(name, empty)
    served.read(f"INSERT INTO {name} FORMAT TSV\n")
    served.read(f"INSERT INTO {name} FORMAT CSVWithNames\nn,s\n")
    served.read(f"INSERT INTO {name} FORMAT JSONEachRow\n\n")
    served.read(f"INSERT INTO {name} SETTINGS async_insert = 0 FORMAT CSVWithNames\nn,s\n")
    assert served.read(f"SELECT count() FROM {name}") == "0"
    for _ in range(2):
        served.read(f"INSERT INTO {name} FORMAT TSV\n1\ta\n", insert_deduplication_token="t")
    assert served.read(f"SELECT count() FROM {name}") == "1"
