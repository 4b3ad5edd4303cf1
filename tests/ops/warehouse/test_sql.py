"""ops/warehouse/sql.py"""

from __future__ import annotations

import pytest

from ops.warehouse import sql
from ops.warehouse.errors import Code, QueryFailed


@pytest.mark.parametrize(
    ("text", "statement", "form", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\n\x01", b"INSERT INTO t ", "Native", b"\n\x01"),
        (b"insert into t (a, b) format TSV\r\n1\t2", b"insert into t (a, b) ", "TSV", b"1\t2"),
        (b"INSERT INTO t VALUES (1), (2)", b"INSERT INTO t ", "Values", b" (1), (2)"),
        (b"INSERT INTO db.format FORMAT CSV 1", b"INSERT INTO db.format ", "CSV", b"1"),
        (b"INSERT INTO values VALUES (1)", b"INSERT INTO values ", "Values", b" (1)"),
        (b"INSERT INTO `a FORMAT b` FORMAT CSV\n1", b"INSERT INTO `a FORMAT b` ", "CSV", b"1"),
        (
            b"/* FORMAT x */ INSERT INTO t FORMAT CSV\n",
            b"/* FORMAT x */ INSERT INTO t ",
            "CSV",
            b"",
        ),
        (
            b"INSERT INTO t SETTINGS insert_deduplication_token = 'FORMAT X' FORMAT CSV\n1",
            b"INSERT INTO t SETTINGS insert_deduplication_token = 'FORMAT X' ",
            "CSV",
            b"1",
        ),
        (b"INSERT INTO {t:Identifier} FORMAT CSV\n1", b"INSERT INTO {t:Identifier} ", "CSV", b"1"),
    ],
)
def test_an_insert_is_cut_from_its_data(
    text: bytes, statement: bytes, form: str, data: bytes
) -> None:
    """The data begins where the server says: behind one line feed, not a byte later."""
    head = sql.insert_head(text)
    assert head is not None
    assert (head.statement, head.format, text[head.data_offset :]) == (statement, form, data)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (b"INSERT INTO t FORMAT CSV\n1", b""),
        (b"INSERT INTO t VALUES (1)", b""),
        (
            b"INSERT INTO t settings a = 1, b = 'SETTINGS' FORMAT CSV\n1",
            b"settings a = 1, b = 'SETTINGS' ",
        ),
        (b"INSERT INTO t (settings) SETTINGS a = 1 VALUES (1)", b"SETTINGS a = 1 "),
        (b"INSERT INTO settings FORMAT CSV\n1", b""),
        (b"INSERT INTO db.settings FORMAT CSV\n1", b""),
    ],
)
def test_an_inserts_settings_are_found(text: bytes, settings: bytes) -> None:
    """They begin at the clause's own word, not at a name or a text that is spelt so."""
    head = sql.insert_head(text)
    assert head is not None
    assert head.statement[head.settings_offset :] == settings


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t (a) WITH 1 AS x SELECT x",
        b"INSERT INTO t (SELECT 1)",
    ],
)
def test_an_insert_of_a_query_brings_no_data(text: bytes) -> None:
    """INSERT ... SELECT is left to the engine in whole."""
    assert sql.insert_head(text) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"INSERT INTO t (a)", Code.SYNTAX_ERROR),
        (b"INSERT INTO t FORMAT CSV; 1", Code.SYNTAX_ERROR),
        (b"INSERT INTO t FORMAT", Code.SYNTAX_ERROR),
        (b"INSERT INTO t FORMAT CSV SETTINGS a = 1\n1", Code.SYNTAX_ERROR),
        (b"INSERT INTO t FROM INFILE '/x' FORMAT CSV", Code.ACCESS_DENIED),
    ],
)
def test_an_insert_that_cannot_work_is_refused(text: bytes, code: Code) -> None:
    """An INSERT without data's format, or with a file of the server's, never reaches the engine."""
    with pytest.raises(QueryFailed) as refused:
        sql.insert_head(text)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1", (b"SELECT 1", "", b"")),
        (b"SELECT 1 ; -- end", (b"SELECT 1", "", b"")),
        (b"SELECT 1 FORMAT JSON;", (b"SELECT 1 ", "JSON", b"")),
        (b"SELECT 'x FORMAT CSV'", (b"SELECT 'x FORMAT CSV'", "", b"")),
        (b"SELECT 1 AS format", (b"SELECT 1 AS format", "", b"")),
        (b"SELECT 1 FORMAT TSV SETTINGS a = 1", (b"SELECT 1 ", "TSV", b"SETTINGS a = 1")),
        (b"SELECT (SELECT 1) FORMAT /* x */ CSV", (b"SELECT (SELECT 1) ", "CSV", b"")),
    ],
)
def test_the_format_at_the_end_is_found(text: bytes, expected: tuple[bytes, str, bytes]) -> None:
    """Only a FORMAT clause at the end counts, not one in a string, a name or a comment."""
    query = sql.split_format(text)
    assert (query.text, query.format, query.settings) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT file('/etc/passwd')",
        b"SELECT `file` ('/etc/passwd')",
        b"SELECT `f\\x69le`('/etc/passwd')",
        "SELECT file\u00a0('/etc/passwd')".encode(),
        "SELECT “file”('/etc/passwd')".encode(),
        b"CREATE FUNCTION f AS x -> File/**/(x)",
        b"SELECT * FROM eval('SELECT 1')",
        b"SELECT 1 INTO /* x */ OUTFILE '/tmp/x'",
    ],
)
def test_what_passes_the_engines_grants_is_refused(text: bytes) -> None:
    """file() and the clauses that the engine itself does not check are refused, however spelt."""
    with pytest.raises(QueryFailed) as refused:
        sql.refuse_outside(text)
    assert refused.value.code == Code.ACCESS_DENIED


def test_names_in_strings_and_columns_are_not_refused() -> None:
    """A column called file, or the word in a string, is nobody's file."""
    sql.refuse_outside(b"SELECT file, 'file(x)', outfile FROM t WHERE file IN ('a') -- file('x')")


def test_kill_query_means_the_clients_own_id() -> None:
    """In KILL QUERY the column query_id becomes the setting that carries the client's id."""
    killed = sql.kill_by_client_id(b"KILL QUERY WHERE query_id = 'query_id' SYNC")
    assert killed == b"KILL QUERY WHERE Settings['log_comment'] = 'query_id' SYNC"
