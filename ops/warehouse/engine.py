"""chDB behind a small interface: one connection per request, closed after it.

What chDB allows was measured, not guessed: any number of connections to one path in one process,
from any thread, running side by side (a SELECT of two seconds delayed another by nothing); SET and
USE live and die with their connection; opening one costs 0.1 to 0.4 ms. So nothing is pooled, and
nothing can leak from one request into the next. A second *process* on the path is refused.

Everything here blocks; app.py calls it from threads.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

from chdb import _chdb

from millstream.errors import OperatorNeeded
from millstream.functions.config import CONFIG_FILE
from ops.warehouse import sql
from ops.warehouse.access import plain_default, write_config
from ops.warehouse.errors import Code, failure, from_engine
from ops.warehouse.protocol import Ask, Summary

STATEMENT_BYTES_MAX: Final = 16 << 20
"""Longest statement without its data. The engine's own max_query_size (256 KiB) comes first."""

INSERT_HEAD_BYTES_MAX: Final = 256 << 10
"""Where an INSERT's FORMAT or VALUES must have come. ClickHouse has the same default."""

_FEED_BYTES = 1 << 20
_SCRATCH = "http-scratch"


def quoted(value: str) -> bytes:
    """A string literal of ClickHouse's SQL."""
    text = value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return b"'" + text.encode("utf-8", "surrogateescape") + b"'"


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement as it will run.

    kind: "select" (its rows stream), "insert" (data follows the statement), or "other".
    word: its first word in capitals. format: the output's, or the inserted data's.
    settings: its last SETTINGS clause, which is not in `statement`: a query's behind FORMAT, an
    INSERT's before it. data_offset: where an INSERT's data begins.
    """

    kind: str
    word: str
    statement: bytes
    format: str
    settings: bytes = b""
    data_offset: int = 0


class Warehouse:
    """The embedded database at one path.

    functions: a folder of `millstream sql-functions`; None: no query starts a program.
    Raises OperatorNeeded when the path cannot be opened, the usual reason being another process
    that has it open, or where the folder has no functions.
    """

    def __init__(self, path: Path, functions: Path | None = None) -> None:
        if functions is not None and not (functions / CONFIG_FILE).is_file():
            problem = f"{functions} holds no functions: {CONFIG_FILE} is missing"
            raise OperatorNeeded(problem, "Write them: millstream sql-functions STREAM.TOML")
        self.path = path.absolute()
        if re.search(r"[?&%#=]", str(self.path)):
            problem = f"The warehouse's path {self.path} has one of ? & % # = in it"
            raise OperatorNeeded(problem, "Choose a path without these characters")
        self.scratch = self.path / _SCRATCH
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            _refuse_second_process(self.path)
            # Pipes that a killed predecessor left behind go too.
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(mode=0o700)
            config = write_config(self.scratch, functions and functions.absolute())
            self._address = f"{self.path}?config-file={config}"
            self._root = self._connect()
            plain_default(self._root)
        except OSError as error:
            problem = f"The warehouse's folder {self.path} cannot be used: {error.strerror}"
            raise OperatorNeeded(problem, "Choose a folder that this user may write") from error
        except RuntimeError as error:
            problem = f"The engine cannot open {self.path}: {from_engine(error).text}"
            remedy = "See its own lines above this one; another process may have just opened it"
            raise OperatorNeeded(problem, remedy) from error
        facts = self._root.query("SELECT version(), timezone(), displayName()", "TabSeparatedRaw")
        self.version, self.timezone, self.display_name = facts.bytes().decode().strip().split("\t")
        self._running: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def _connect(self) -> Any:
        return _chdb.connect(self._address)  # type: ignore[attr-defined]

    # -- planning

    def plan(self, ask: Ask, body: IO[bytes]) -> Plan:
        """Decide how the statement at the start of `body` runs. Raises QueryFailed."""
        body.seek(0)
        head = body.read(INSERT_HEAD_BYTES_MAX)
        word = sql.first_word(head)
        if word == "INSERT":
            insert = sql.insert_head(head)
            if insert is not None:
                sql.refuse_outside(insert.statement)
                cut = insert.settings_offset
                statement, settings = insert.statement[:cut], insert.statement[cut:]
                return Plan("insert", word, statement, insert.format, settings, insert.data_offset)
        statement = head + body.read(STATEMENT_BYTES_MAX - len(head) + 1)
        if len(statement) > STATEMENT_BYTES_MAX:
            reason = f"The statement is longer than {STATEMENT_BYTES_MAX} bytes"
            raise failure(Code.QUERY_IS_TOO_LARGE, reason)
        if not word and next(sql.tokens(statement), None) is None:
            raise failure(Code.SYNTAX_ERROR, "Empty query")
        sql.refuse_outside(statement)
        return self._plan_statement(ask, word, statement)

    def _plan_statement(self, ask: Ask, word: str, statement: bytes) -> Plan:
        query = sql.split_format(statement)
        wanted = query.format or ask.default_format
        known = self._root.classify_query(statement)
        if known["statement_count"] > 1:
            raise failure(Code.SYNTAX_ERROR, "Multi-statements are not allowed")
        if word == "KILL":
            return Plan("other", word, sql.kill_by_client_id(statement), wanted)
        # With no count it does not parse; the engine then says why, about the client's own text.
        reads = known["statement_count"] == 1 and known["query_class"].name == "READ_ONLY"
        if reads and word in {"SELECT", "WITH", "FROM", "("}:
            plan = Plan("select", word, query.text, wanted, query.settings)
            if self._parses(_into(plan, Path("rows"), "")):
                return plan
        if word == "INSERT" and re.search(rb"\binput\s*\(", statement, re.IGNORECASE):
            reason = "INSERT ... SELECT ... FROM input() is not supported; use INSERT ... FORMAT"
            raise failure(Code.NOT_IMPLEMENTED, reason)
        return Plan("other", word, statement, wanted)

    def _parses(self, statement: bytes) -> bool:
        return bool(self._root.classify_query(statement)["statement_count"] == 1)

    # -- running

    def reserve(self, query_id: str, stoppable: bool) -> None:
        """Note that a query with this id runs. Raises QueryFailed if one already does.

        stoppable: closing the server may cancel it.
        """
        with self._lock:
            if query_id in self._running:
                reason = f"Query with id = {query_id} is already running"
                raise failure(Code.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING, reason)
            if self._stopping and stoppable:
                raise failure(Code.QUERY_WAS_CANCELLED, "The server is stopping")
            self._running[query_id] = stoppable

    def release(self, query_id: str) -> None:
        """The query with this id is over."""
        with self._lock:
            self._running.pop(query_id, None)

    @contextmanager
    def _session(self, ask: Ask) -> Iterator[Any]:
        """A connection with the request's settings, parameters and database, and no others."""
        connection = self._connect()
        try:
            # implicit_select is clickhouse-local's, not a server's. The id travels in log_comment:
            # the engine takes none from outside.
            first = [b"implicit_select = 0", b"async_insert = 0"]
            first += [name.encode() + b" = " + quoted(v) for name, v in _ordered(ask.settings)]
            first += [
                b"param_" + name.encode() + b" = " + quoted(value)
                for name, value in ask.parameters.items()
            ]
            first.append(b"log_comment = " + quoted(ask.query_id))
            if ask.database:
                escaped = ask.database.replace("\\", "\\\\").replace("`", "\\`")
                connection.query(b"USE `" + escaped.encode("utf-8", "surrogateescape") + b"`")
            connection.query(b"SET " + b", ".join(first))
            readonly = ask.settings.get("readonly", "0")
            if readonly == "0" and ask.readonly:
                readonly = "2"
            if readonly != "0":
                connection.query(b"SET readonly = " + quoted(readonly))
            yield connection
        except RuntimeError as error:
            raise from_engine(error) from error
        finally:
            connection.close()

    def run(self, ask: Ask, plan: Plan) -> tuple[bytes, Summary]:
        """Run a statement whose answer is small, and return the answer. Raises QueryFailed."""
        with self._session(ask) as connection:
            return _answer(connection.query(plan.statement, ask.default_format))

    def select(self, ask: Ask, plan: Plan, outlet: Path) -> Summary:
        """Run a query and let the engine write its rows, compressed as asked, to `outlet`.

        outlet: an existing named pipe, or a file to be made. Raises QueryFailed.
        """
        statement = _into(plan, outlet, ask.encoding)
        with self._session(ask) as connection:
            return _answer(connection.query(statement, plan.format))[1]

    def insert(self, ask: Ask, plan: Plan, body: IO[bytes]) -> Summary:
        """Insert the data in `body` behind the statement; on return it is a committed part.

        Up to about a million rows (max_insert_block_size) become one block in each table
        partition, hence one part, whole or not at all. Raises QueryFailed.

        From a file, as the engine's insert from memory hides errors that come before its first
        block (too many parts, a full or read-only disk): it ends well with no row written.
        """
        path = self.scratch / f"insert-{uuid4().hex}"
        try:
            body.seek(plan.data_offset)
            with path.open("wb") as copy:
                shutil.copyfileobj(body, copy, _FEED_BYTES)
            infile = b"FROM INFILE " + quoted(str(path)) + b" COMPRESSION 'none'"
            form = b"FORMAT " + plan.format.encode()
            statement = b"\n".join([plan.statement, infile, plan.settings, form])
            with self._session(ask) as connection:
                return _answer(connection.query(statement, "TabSeparatedRaw"))[1]
        except OSError as error:
            raise failure(Code.STD_EXCEPTION, f"The data cannot be kept: {error}") from error
        finally:
            path.unlink(missing_ok=True)

    def kill(self, query_id: str) -> None:
        """Ask the engine to end a query; it may not have begun, so callers repeat it."""
        with suppress(RuntimeError):
            connection = self._connect()
            try:
                where = b"Settings['log_comment'] = " + quoted(query_id)
                connection.query(b"KILL QUERY WHERE " + where + b" ASYNC")
            finally:
                connection.close()

    # -- the end

    def stop_reading(self) -> None:
        """End the queries that only read, and let no new one begin. INSERTs go on."""
        with self._lock:
            self._stopping = True
            reading = [query_id for query_id, stoppable in self._running.items() if stoppable]
        for query_id in reading:
            self.kill(query_id)

    def close(self) -> None:
        """Close the database. No query may be running."""
        self._root.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _into(plan: Plan, outlet: Path, encoding: str) -> bytes:
    """The query with the engine's own clause for writing its rows to a path."""
    into = b"INTO OUTFILE " + quoted(str(outlet)) + b" TRUNCATE"
    if encoding:
        into += f" COMPRESSION '{encoding}' LEVEL 1".encode()
    return b"\n".join([plan.statement, into, b"FORMAT " + plan.format.encode(), plan.settings])


def _ordered(settings: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in settings.items() if name != "readonly"]


def _answer(result: Any) -> tuple[bytes, Summary]:
    summary = Summary(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_s=result.elapsed(),
    )
    return bytes(result.bytes()), summary


def _refuse_second_process(path: Path) -> None:
    """Raise OperatorNeeded if another process has the database open.

    The engine refuses it too, but says why on standard error only.
    """
    status = path / "status"
    if not status.exists():
        return
    with status.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = re.search(rb"PID: (\d+)", file.read(4096))
            owner = f" (process {int(found.group(1))})" if found else ""
            raise OperatorNeeded(
                f"The warehouse {path} is already open in another process{owner}",
                "Use that process's HTTP address, or stop it first: one process per path",
            ) from None
