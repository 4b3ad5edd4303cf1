"""ops/warehouse/engine.py: what an INSERT leaves, whatever the engine says of it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import lz4.frame
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.ops.warehouse.conftest import Served
from tests.ops.warehouse.test_app import client, table


def test_an_insert_that_the_engine_dropped_is_an_error(served: Served) -> None:
    """Too many parts: the client has the engine's own reason, with settings in the statement too
    (the engine's insert from memory would end well and write nothing)."""
    name = table(served, "crowded")
    served.read(f"ALTER TABLE {name} MODIFY SETTING parts_to_throw_insert = 1")
    served.read(f"INSERT INTO {name} FORMAT TSV\n1\ta\n")
    for data in (b"FORMAT TSV\n2\tb\n", b"VALUES (2, 'b')", b"FORMAT RowBinary\n" + b"\2" * 11):
        for settings in ("", "SETTINGS async_insert = 0 "):
            answer = served.ask(f"INSERT INTO {name} {settings}".encode() + data)
            code = answer.headers["X-ClickHouse-Exception-Code"]
            assert (answer.status_code, code) == (500, "252")
            assert "Too many parts" in answer.text
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


def test_settings_and_comments_of_the_statement_hold(served: Served) -> None:
    """SETTINGS in an INSERT are in force, a comment before FORMAT ends with its line, and a
    statement that the engine cannot read is its syntax error."""
    name = table(served, "settled")
    token = "SETTINGS insert_deduplicate = 1, insert_deduplication_token = 'FORMAT'"
    for data in ("FORMAT TSV\n1\ta\n", "VALUES (2, 'b')"):
        served.read(f"INSERT INTO {name} (n, s) {token} -- FORMAT\n{data}")
    assert served.read(f"SELECT n, s FROM {name}") == "1\ta"
    served.read(f"INSERT INTO {name} SETTINGS format_csv_delimiter = ';' FORMAT CSV\n3;c\n")
    assert served.read(f"SELECT s FROM {name} WHERE n = 3") == "c"
    for wrong in ("SETTINGS = 1", "SETTINGS max_threads = 1 SETTINGS max_threads = 1", "n n"):
        answer = served.ask(f"INSERT INTO {name} {wrong} FORMAT TSV\n4\td\n")
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "62")
    assert served.read(f"SELECT count() FROM {name}") == "2"


def test_a_token_counts_rows_once(served: Served) -> None:
    """The same token twice: the rows once. Another token: the rows again."""
    table(served, "tokens")
    pins = {"async_insert": "0", "insert_deduplicate": "1"}

    def insert(token: str) -> None:
        data = "".join(f"{n}\tx\n" for n in range(100))
        query = "INSERT INTO tokens FORMAT TSV"
        served.read(data, query=query, insert_deduplication_token=token, **pins)

    for token, rows in (("a", 100), ("a", 100), ("b", 200), ("a", 200), ("b", 200)):
        insert(token)
        assert served.read("SELECT count() FROM tokens") == str(rows)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_compressed_bodies_of_many_frames_are_whole(served: Served, encoding: str) -> None:
    """Statement and rows in several frames: every row is there."""
    name = table(served, f"frames_{encoding}")
    frames = [f"INSERT INTO {name} FORMAT TSV\n".encode()]
    frames += [
        "".join(f"{n}\tx\n" for n in range(s, s + 1000)).encode() for s in range(0, 9000, 1000)
    ]
    body = b"".join(COMPRESS[encoding](frame) for frame in frames)
    answer = httpx.post(served.url, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert served.read(f"SELECT count(), uniqExact(n) FROM {name}") == "9000\t9000"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_damaged_body_changes_nothing(served: Served, encoding: str) -> None:
    """Cut short or with foreign bytes behind: 400, no row, and the server lives on."""
    name = table(served, f"damaged_{encoding}")
    rows = "".join(f"{n}\t{n * 7919}\n" for n in range(50_000)).encode()
    good = COMPRESS[encoding](f"INSERT INTO {name} FORMAT TSV\n".encode() + rows)
    for body in (good[:-5], good[: len(good) // 2], good + b"garbage", b"no " + good):
        answer = httpx.post(served.url, content=body, headers={"Content-Encoding": encoding})
        assert answer.status_code == 400
        assert answer.headers["X-ClickHouse-Exception-Code"]
    assert served.read(f"SELECT count() FROM {name}") == "0"


def test_a_bad_row_refuses_the_whole_block(served: Served) -> None:
    """An INSERT is one block: the good rows before a bad one are not kept."""
    name = table(served, "bad_row")
    rows = "".join(f"{n}\tx\n" for n in range(1000))
    answer = served.ask(f"INSERT INTO {name} FORMAT TSV\n{rows}not a number\tx\n")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "27")
    assert served.read(f"SELECT count() FROM {name}") == "0"


def test_a_large_body_leaves_no_file_behind(served: Served) -> None:
    """100 MB of rows go through a nameless file; after success and after an error none is left."""
    name = table(served, "large")
    block = b"".join(b"%d\t%s\n" % (n, b"x" * 90) for n in range(10_000))

    def body(tail: bytes) -> Any:
        yield f"INSERT INTO {name} FORMAT TSV\n".encode()
        for _ in range(100):
            yield block
        yield tail

    assert httpx.post(served.url, content=body(b""), timeout=120).status_code == 200
    assert httpx.post(served.url, content=body(b"bad\n"), timeout=120).status_code == 400
    assert served.read(f"SELECT count() FROM {name} WHERE length(s) = 90") == "1000000"
    left = sorted(file.name for file in (served.path / "http-scratch").iterdir())
    assert left == ["config.xml", "users.xml"]
