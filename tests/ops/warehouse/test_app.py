"""ops/warehouse/app.py, engine.py and stream.py, by the clients that people use."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.ops.warehouse.conftest import Served

ROWS = 1_000_000


def client(served: Served, **options: Any) -> Any:
    """clickhouse-connect as most people make it."""
    return clickhouse_connect.get_client(host="127.0.0.1", port=served.port, **options)


def table(served: Served, name: str, columns: str = "n UInt64, s String") -> str:
    """A new MergeTree table that remembers its last 100 insertions."""
    settings = "non_replicated_deduplication_window = 100"
    served.read(
        f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY n SETTINGS {settings}"
    )
    return name


# -- clickhouse-connect ---------------------------------------------------------------------------


def test_a_million_rows_arrive_complete_and_as_one_part(served: Served) -> None:
    """clickhouse-connect cuts them into many LZ4 frames; all of them count, as one INSERT."""
    with client(served) as connect:
        table(served, "million")
        summary = connect.insert("million", [list(range(ROWS)), ["x"] * ROWS], column_oriented=True)
        assert summary.written_rows == ROWS
    assert served.read("SELECT count(), uniqExact(n), sum(n) FROM million") == (
        f"{ROWS}\t{ROWS}\t{ROWS * (ROWS - 1) // 2}"
    )
    parts = "SELECT count() FROM system.parts WHERE table = 'million' AND level = 0"
    assert served.read(parts) == "1"


def test_arrow_goes_both_ways(served: Served) -> None:
    """insert_arrow and query_arrow keep every value."""
    name = table(served, "arrow")
    rows = pa.table({"n": pa.array([1, 2, 3], pa.uint64()), "s": ["a", "", "ü'\\\n"]})
    with client(served) as connect:
        connect.insert_arrow(name, rows)
        back = connect.query_arrow(f"SELECT * FROM {name} ORDER BY n", use_strings=True)
    assert back.to_pydict() == rows.to_pydict()


def test_query_parameters_are_bound_by_the_server(served: Served) -> None:
    """{name:Type} takes any text as a value, never as SQL."""
    hostile = "a'b\\c\td\n{n:UInt8}; DROP TABLE t"
    with client(served) as connect:
        found = connect.query(
            "SELECT {s:String}, {n:UInt8} + 1, {a:Array(String)}",
            parameters={"s": hostile, "n": 7, "a": ["x", "y'"]},
        )
    assert found.result_rows == [(hostile, 8, ["x", "y'"])]


def test_statements_and_errors_come_through(served: Served) -> None:
    """DDL by command(); an error carries ClickHouse's own code."""
    with client(served) as connect:
        connect.command("CREATE TABLE made (n UInt8) ENGINE = Memory")
        connect.insert("made", [[1]], column_names=["n"])
        assert connect.command("SELECT count() FROM made") == 1
        for statement, code in (("SELECT * FROM nope", 60), ("SELEC 1", 62), ("SELECT nope", 47)):
            with pytest.raises(DatabaseError) as failed:
                connect.query(statement)
            assert failed.value.code == code
        with pytest.raises(DatabaseError) as failed:
            connect.insert("made", [["x"]], column_names=["n"], column_type_names=["String"])
        assert connect.command("SELECT count() FROM made") == 1


def test_an_answer_larger_than_memory_buffers_streams(served: Served) -> None:
    """80 MB of rows pass through, uncompressed and compressed."""
    for compress in (False, "lz4", "zstd", "gzip"):
        with client(served, compress=compress) as connect:
            total = rows = 0
            with connect.query_column_block_stream(
                "SELECT number FROM numbers(10000000)"
            ) as blocks:
                for (column,) in blocks:
                    rows += len(column)
                    total += sum(column[:1])
        assert rows == 10_000_000
        assert total > 0


def test_an_error_in_the_middle_of_an_answer_is_an_error_for_the_client(served: Served) -> None:
    """After the first megabyte the status is sent; the client still must not see a short answer."""
    statement = "SELECT number, throwIf(number = 9000000, 'late') FROM numbers(10000000)"
    with (
        client(served) as connect,
        pytest.raises(Exception, match=r"late|395|IncompleteRead|broken"),
    ):
        connect.query(statement)
    with client(served, compress=False) as connect, pytest.raises(DatabaseError, match="late"):
        connect.query(statement)
    answer = served.ask(statement, wait_end_of_query="1")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


# -- the protocol ---------------------------------------------------------------------------------


def test_a_statement_is_found_wherever_it_stands(served: Served) -> None:
    """In the body's first line, in ?query=, or begun there and continued in the body."""
    table(served, "places")
    insert = "INSERT INTO places FORMAT TSV"
    served.read(f"{insert}\n1\tbody\n")
    served.read("2\tquery\n", query=insert)
    served.read("", query="INSERT INTO places VALUES (3, 'all of it')")
    served.read("(4, 'half')", query="INSERT INTO places VALUES")
    served.read("1", query="SELECT")
    assert served.read("SELECT n, s FROM places ORDER BY n FORMAT CSV") == (
        '1,"body"\n2,"query"\n3,"all of it"\n4,"half"'
    )


def test_binary_data_is_not_touched(served: Served) -> None:
    """Data that begins with white space, after a parameter that ends in it, arrives to the byte."""
    served.read("CREATE TABLE bytes (s String) ENGINE = Memory")
    data = b"\x02\n\n\x03\n \x00"
    query = {"query": "INSERT INTO bytes FORMAT RowBinary\n"}
    assert httpx.post(served.url, params=query, content=data).status_code == 200
    assert served.read("SELECT hex(s) FROM bytes FORMAT CSV") == '"0A0A"\n"0A2000"'


def test_the_answer_says_what_clients_look_for(served: Served) -> None:
    """The headers that ClickHouse's server sends, with the client's query id."""
    answer = served.ask("SELECT number FROM numbers(5)", query_id="mine", default_format="JSON")
    headers = answer.headers
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Format"] == "JSON"
    assert headers["Content-Type"] == "application/json; charset=UTF-8"
    assert json.loads(headers["X-ClickHouse-Summary"])["read_rows"] == "5"
    assert headers["X-ClickHouse-Timezone"]
    assert headers["X-ClickHouse-Server-Display-Name"]
    failed = served.ask("SELECT * FROM nope")
    assert (failed.status_code, failed.headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    assert failed.text.startswith("Code: 60. DB::Exception: ")
    assert failed.text.endswith("(UNKNOWN_TABLE)\n")


def test_ping_answers_like_clickhouse(served: Served) -> None:
    """/ping, /replicas_status and / without a query say Ok."""
    for path in ("ping", "replicas_status", ""):
        assert httpx.get(served.url + path).text == "Ok.\n"


def test_get_may_only_read(served: Served) -> None:
    """A statement that changes something needs POST; the code is READONLY."""
    table(served, "by_get")
    for statement in ("INSERT INTO by_get VALUES (1, '')", "DROP TABLE by_get", "SET readonly = 0"):
        answer = httpx.get(served.url, params={"query": statement})
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    answer = httpx.get(served.url, params={"query": "SELECT 1", "max_threads": "1"})
    assert answer.text == "1\n"


@pytest.mark.parametrize(
    "statement", ["", "-- nothing", "SELECT 1; SELECT 2", "INSERT INTO t", "SELECT 1 FORMAT"]
)
def test_a_statement_that_is_none_or_several_is_refused(served: Served, statement: str) -> None:
    """One request, one statement; a syntax error otherwise."""
    answer = served.ask(statement, query_id="")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "62")


def test_a_session_is_accepted_but_nothing_is_kept(served: Served) -> None:
    """session_id does no harm; a statement with no other effect than on the session is refused."""
    assert served.read("SELECT 1", session_id="s") == "1"
    statements = ("SET max_threads = 1", "USE system", "CREATE TEMPORARY TABLE x (n UInt8)")
    for statement in statements:
        answer = served.ask(statement, session_id="s")
        assert (answer.status_code, "keeps no sessions" in answer.text) == (501, True)


def test_settings_of_one_request_are_gone_in_the_next(served: Served) -> None:
    """URL settings, SET, USE, the database and bound parameters end with their request."""
    table(served, "leak")
    read = "SELECT getSetting('max_threads'), getSetting('max_result_rows'), currentDatabase()"
    before = served.read(read)
    assert served.read(read, max_threads="1", max_result_rows="7", database="system") == (
        "1\t7\tsystem"
    )
    served.read("SET max_threads = 3")
    served.read("USE system")
    served.read(
        "INSERT INTO leak VALUES (1, '')", insert_deduplication_token="once", max_threads="1"
    )
    assert served.read(read) == before
    assert served.ask("SELECT {x:UInt8}", param_x="1").text == "1\n"
    assert served.ask("SELECT {x:UInt8}").status_code != 200
    served.read("INSERT INTO leak VALUES (1, '')", insert_deduplicate="0")
    assert served.read("SELECT count() FROM leak") == "2"


def test_an_unknown_setting_or_database_is_an_error(served: Served) -> None:
    """Nothing is ignored: the codes are ClickHouse's."""
    assert (
        served.ask("SELECT 1", no_such_setting="1").headers["X-ClickHouse-Exception-Code"] == "115"
    )
    assert served.ask("SELECT 1", database="no`pe").headers["X-ClickHouse-Exception-Code"] == "81"


# -- many clients ---------------------------------------------------------------------------------


def test_many_clients_at_once_see_their_own_answers(served: Served) -> None:
    """16 clients insert, read and fail side by side: all rows are there, no answer is mixed up."""
    name = table(served, "crowd")

    def work(worker: int) -> None:
        with httpx.Client(timeout=60) as http:
            for turn in range(8):
                mine = str(worker * 100 + turn)
                row = http.post(served.url, content=f"INSERT INTO {name} VALUES ({mine}, 'x')")
                assert row.status_code == 200, row.text
                query = {"max_result_bytes": mine, "param_x": mine}
                content = (
                    "SELECT getSetting('max_result_bytes'), {x:UInt64} SETTINGS max_threads = 1"
                )
                assert (
                    http.post(served.url, params=query, content=content).text == f"{mine}\t{mine}\n"
                )
                assert http.post(served.url, content="SELECT throwIf(1)").status_code == 500

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert served.read(f"SELECT count(), uniqExact(n) FROM {name}") == "128\t128"


def test_slow_queries_do_not_keep_an_insert_waiting(served: Served) -> None:
    """With every reader busy, an INSERT goes through, and KILL QUERY by client id ends them."""
    name = table(served, "meanwhile")
    slow = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
    with ThreadPoolExecutor(32) as pool:
        ids = [f"slow-{n}" for n in range(32)]
        answers = [pool.submit(served.ask, slow, query_id=one, max_threads="1") for one in ids]
        served.read(f"INSERT INTO {name} VALUES (1, 'x')")
        while not all(answer.done() for answer in answers):
            listed = ", ".join(f"'{one}'" for one in ids)
            served.read(f"KILL QUERY WHERE query_id IN ({listed}) ASYNC")
        codes = {answer.result().headers["X-ClickHouse-Exception-Code"] for answer in answers}
    assert codes == {"394"}
    assert served.read(f"SELECT count() FROM {name} WHERE n = 1") == "1"


def test_a_query_id_runs_once_at_a_time(served: Served) -> None:
    """A second statement with the id of a running one is refused."""
    slow = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.ask, slow, query_id="twin")
        running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'twin'"
        while served.read(running) == "0":
            assert not first.done()
        second = served.ask("SELECT 1", query_id="twin")
        assert second.headers["X-ClickHouse-Exception-Code"] == "216"
        while not first.done():
            served.read("KILL QUERY WHERE query_id = 'twin' ASYNC")
        assert first.result().headers["X-ClickHouse-Exception-Code"] == "394"


def test_a_client_that_leaves_does_no_harm(served: Served) -> None:
    """Half a body inserts nothing; a query whose client has gone is ended."""
    name = table(served, "gone")

    def post(url: str, body: str, length: int) -> socket.socket:
        head = f"POST {url} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", served.port))
        connection.sendall((head + body).encode())
        return connection

    post("/", f"INSERT INTO {name} VALUES (1, 'x')", 5000).close()
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'left'"
    # One that has no row to send yet, one in the middle of its rows.
    for statement in (
        "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1",
        "SELECT * FROM numbers(1000000000000)",
    ):
        connection = post("/?query_id=left", statement, len(statement))
        while served.read(running) == "0":
            pass
        connection.close()
        while served.read(running) != "0":
            pass
    assert served.read(f"SELECT count() FROM {name}") == "0"
    left = sorted(file.name for file in (served.path / "http-scratch").iterdir())
    assert left == ["config.xml", "users.xml"]


# -- staying inside -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM file('/etc/hostname', LineAsString)",
        "SELECT file('/etc/hostname')",
        "SELECT * FROM `/etc/hostname`",
        "SELECT * FROM url('file:///etc/hostname', LineAsString)",
        "INSERT INTO FUNCTION file('/tmp/millstream-outside', TSV, 'n UInt8') VALUES (1)",
        "SELECT 1 INTO OUTFILE '/tmp/millstream-outside'",
        "CREATE TABLE outside (s String) ENGINE = File(LineAsString)",
        "CREATE DATABASE outside ENGINE = Filesystem('/etc')",
        "ATTACH TABLE outside FROM '/tmp' (n UInt8) ENGINE = MergeTree ORDER BY n",
        "CREATE TABLE outside (n UInt8) ENGINE = MergeTree ORDER BY n "
        "SETTINGS disk = disk(type = local, path = '/tmp/millstream-outside/')",
        "SYSTEM SHUTDOWN",
        "GRANT ALL ON *.* TO default",
    ],
)
def test_a_client_stays_inside_of_the_database(served: Served, statement: str) -> None:
    """No statement reads or writes the operator's files, or ends the server."""
    answer = served.ask(statement)
    # ACCESS_DENIED, PATH_ACCESS_DENIED, UNKNOWN_TABLE
    assert answer.headers.get("X-ClickHouse-Exception-Code") in {"497", "481", "60"}, answer.text
    assert not Path("/tmp/millstream-outside").exists()
    assert served.read("SELECT 1") == "1"


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_web_pages_of_other_sites_are_refused(served: Served, headers: dict[str, str]) -> None:
    """Also /ping: a page shall not even learn that the server is there."""
    answers = [httpx.post(served.url, content="SELECT 1", headers=headers)]
    answers.append(httpx.get(served.url + "ping", headers=headers))
    assert [answer.status_code for answer in answers] == [403, 403]
