"""ClickHouse, over HTTP or embedded (chDB), through clickhouse-connect: one code path for both."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError
from urllib3.exceptions import HTTPError

from millstream.errors import (
    DependencyUnavailable,
    InvariantBroken,
    MillstreamError,
    OperatorNeeded,
    SettingsInvalid,
)
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.blocks import Block, Look, Source
from millstream.warehouse.caching import CONDITION_CACHE, LOSES_ROWS
from millstream.warehouse.ddl import (
    bookkeeping,
    column_changes,
    column_defaults,
    migrations,
    pending,
)
from millstream.warehouse.views import column_comments, keeping, views

CLICKHOUSE = "ClickHouse"
INSERT_SETTINGS = {
    # one insert is one part, and its errors come back
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_insert_block_size": 4_000_000,
    "min_insert_block_size_rows": 4_000_000,
    "min_insert_block_size_bytes": 4_000_000_000,
}
_ASK_OPERATOR = {
    16: "a column is missing; run `millstream migrate`",
    53: "a column has another type; run `millstream check`",
    60: "a table is missing; run `millstream migrate`",
    76: "its folder is in use by another process; stop that one, or use its HTTP address",
    81: "the database is missing; run `millstream migrate`",
    192: "the user is unknown; set MILLSTREAM_WAREHOUSE_USERNAME",
    193: "the password is wrong; set MILLSTREAM_WAREHOUSE_PASSWORD",
    497: "the user lacks a right; grant it",
    516: "user or password is wrong; set MILLSTREAM_WAREHOUSE_USERNAME and _PASSWORD",
}
_PIECE_BYTES = 1 << 18
T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What a SELECT gave: its columns' names and types, as ClickHouse calls them, and the rows."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Warehouse:
    """A ClickHouse that was reached. Errors are ours; see `translate`.

    others_lose_rows: whether the user's profile has the cache that does (millstream/warehouse/
    caching.py); what asks here goes without it, unless the profile forbids to say so.
    """

    def __init__(self, client: Client, *, is_embedded: bool = False) -> None:
        self._client = client
        self._is_embedded = is_embedded
        found = client.server_settings.get(CONDITION_CACHE)
        self.others_lose_rows = found is not None and found.value != "0" and not is_embedded
        if found is not None and found.readonly and found.value != "0":
            _log.warning("%s", LOSES_ROWS)
        elif found is not None:
            _ask(lambda: client.set_client_setting(CONDITION_CACHE, "0"))

    @classmethod
    def connect(cls, settings: WarehouseSettings) -> Warehouse:
        """Raises SettingsInvalid where the address is none or nobody answers, OperatorNeeded where
        the user is refused or a chDB folder is in use."""
        try:
            return cls._connect(settings)
        except DependencyUnavailable as why:
            raise SettingsInvalid(
                f"no ClickHouse answers at {settings.url}: {why.reason}",
                "Start one (`millstream warehouse`) or set MILLSTREAM_WAREHOUSE_URL",
            ) from why

    @classmethod
    def _connect(cls, settings: WarehouseSettings) -> Warehouse:
        kind, _, path = settings.url.partition(":")
        if kind == "chdb":
            folder = Path(path).expanduser()
            folder.parent.mkdir(parents=True, exist_ok=True)
            return cls(_open(folder), is_embedded=True)
        host, port = _address(settings.url)
        secret = settings.password
        return cls(
            _ask(
                lambda: clickhouse_connect.get_client(
                    interface=kind,
                    host=host,
                    port=port or (8443 if kind == "https" else 8123),
                    username=settings.username,
                    password=secret.get_secret_value() if secret else "",
                    send_receive_timeout=settings.timeout_s,
                    connect_timeout=min(10.0, settings.timeout_s),
                    autogenerate_session_id=False,
                )
            )
        )

    def query(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; parameters are bound as {name:Type}."""
        result = _ask(lambda: self._client.query(sql, parameters=parameters or None))
        return [tuple(row) for row in result.result_rows]

    def named(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a SELECT, each by its columns' names."""
        result = _ask(lambda: self._client.query(sql))
        names = list(result.column_names)
        return [dict(zip(names, row, strict=True)) for row in result.result_rows]

    def look(self, sql: str, settings: Mapping[str, Any], /, **parameters: Any) -> Found:
        """As `query`, under ClickHouse's settings (such as its limits; `database`: of tables that
        stand without one), with names and types."""
        if self._is_embedded and "database" in settings:
            self._client.database = settings["database"]  # chDB knows no such setting
        result = _ask(
            lambda: self._client.query(sql, parameters=parameters or None, settings=dict(settings))
        )
        return Found(
            tuple(result.column_names),
            tuple(kind.name for kind in result.column_types),
            [tuple(row) for row in result.result_rows],
        )

    def table(self, sql: str, **parameters: Any) -> pa.Table:
        """As `query`, but as Arrow columns: for many rows."""
        return _ask(
            lambda: self._client.query_arrow(sql, parameters=parameters or None, use_strings=True)
        )

    def command(self, sql: str) -> None:
        """A statement without rows."""
        _ask(lambda: self._client.command(sql))

    def enter(self, database: str, *, may_write: bool) -> None:
        """Statements are about this database from now on; they change nothing unless they may."""
        self._client.database = database
        self.query("SELECT 1")  # chDB enters with the next statement, and may not once read-only
        if may_write:
            return
        if self._is_embedded:
            self.command("SET readonly = 2")
        else:
            _ask(lambda: self._client.set_client_setting("readonly", "2"))

    def text(
        self,
        sql: str,
        form: str | None,
        parameters: Mapping[str, str],
        settings: Mapping[str, Any],
        *,
        is_whole: bool = False,
    ) -> Iterator[bytes]:
        """The answer to a person's statement in a format of ClickHouse's, piece by piece; None: a
        statement without rows. is_whole: the first piece waits for the last row.

        Raises OperatorNeeded with ClickHouse's own words where it refuses the statement, and
        DependencyUnavailable: also where it refuses it behind the first piece, which a server tells
        by breaking off."""
        bound, sent = dict(parameters) or None, dict(settings)
        if is_whole and not self._is_embedded:
            sent["wait_end_of_query"] = 1
        try:
            if form is None:
                self._client.command(sql, parameters=bound, settings=sent)
                return
            with self._client.raw_stream(sql, parameters=bound, settings=sent, fmt=form) as answer:
                while piece := answer.read(_PIECE_BYTES):
                    yield piece
        except ClickHouseError as why:
            raise _refused(why) from why
        except HTTPError as why:
            raise DependencyUnavailable(CLICKHOUSE, f"the answer broke off ({why})") from why

    def insert(self, database: str, table: str, rows: pa.Table, token: str) -> None:
        """Insert as one part under a deduplication token. An error says nothing of what landed."""
        settings = INSERT_SETTINGS | {"insert_deduplication_token": token}
        _ask(lambda: self._client.insert_arrow(table, rows, database=database, settings=settings))

    def close(self) -> None:
        self._client.close()


class Tables:
    """The tables of one stream, as the sink sees them."""

    def __init__(self, warehouse: Warehouse, database: str) -> None:
        self._warehouse = warehouse
        self._database = database

    def marks(self, table: str, topic: str) -> dict[int, int]:
        """Partition -> its mark, for the partitions of a topic that have rows."""
        rows = self._warehouse.query(
            f"SELECT kafka_partition, max(kafka_offset) FROM {self._database}.{table} "
            "WHERE kafka_topic = {topic:String} GROUP BY kafka_partition",
            topic=topic,
        )
        return {int(partition): int(mark) for partition, mark in rows}

    def look(self, block: Block) -> Look:
        """The mark of the block's source, and the rows in its range: one query, one snapshot.

        Asked from the block's first offset on, by the table's order: a mark below is None here, and
        the rows that are older are not read, however many.
        """
        source = block.source
        ((rows, mark, count),) = self._warehouse.query(
            "SELECT count(), max(kafka_offset), countIf(kafka_offset <= {last:Int64}) "
            f"FROM {self._database}.{source.table} WHERE kafka_topic = {{topic:String}} "
            "AND kafka_partition = {partition:Int32} AND kafka_offset >= {first:Int64}",
            topic=source.topic,
            partition=source.partition,
            first=block.first,
            last=block.last,
        )
        return Look(int(mark) if rows else None, int(count))

    def insert(self, block: Block, attempt: int) -> None:
        self._warehouse.insert(self._database, block.source.table, block.rows, block.token(attempt))

    def mark(self, source: Source) -> int | None:
        return self.marks(source.table, source.topic).get(source.partition)


def _address(url: str) -> tuple[str, int | None]:
    """Host and port of an http(s) URL. Raises SettingsInvalid, which never shows a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if "@" in url or "?" in url or "#" in url:
        raise SettingsInvalid(
            "MILLSTREAM_WAREHOUSE_URL holds a user or password, or parameters",
            "Set MILLSTREAM_WAREHOUSE_USERNAME and MILLSTREAM_WAREHOUSE_PASSWORD in its place",
        )
    if parts.scheme not in {"http", "https"} or not host or parts.path not in {"", "/"}:
        raise SettingsInvalid(
            f"MILLSTREAM_WAREHOUSE_URL={url} is no address of ClickHouse",
            "Write http://HOST:PORT, https://HOST:PORT or chdb:FOLDER",
        )
    return host, port


def migrate(warehouse: Warehouse, stream: Stream) -> list[str]:
    """Bring the stream's tables up to date; the names of the migrations applied.

    A crash between a statement and its record repeats the statement: each is idempotent.
    """
    for statement in bookkeeping(stream.name):
        warehouse.command(statement)
    applied = dict(warehouse.query(f"SELECT name, digest FROM {stream.name}.migrations"))
    steps = pending(applied, migrations(stream))
    for step in steps:
        for statement in step.statements:
            warehouse.command(statement)
        warehouse.command(
            f"INSERT INTO {stream.name}.migrations (name, digest) "
            f"VALUES ('{step.name}', '{step.digest}')"
        )
    for statement in column_changes(stream, _columns(warehouse, stream, "type")):
        warehouse.command(statement)
    for statement in column_defaults(stream, _columns(warehouse, stream, "default_expression")):
        warehouse.command(statement)
    for statement in column_comments(stream, _columns(warehouse, stream, "comment")):
        warehouse.command(statement)
    engines = warehouse.query(
        "SELECT name, engine_full FROM system.tables WHERE database = {name:String}",
        name=stream.name,
    )
    for statement in (*keeping(stream, dict(engines)), *views(stream)):
        warehouse.command(statement)
    return [step.name for step in steps]


def require_tables(
    warehouse: Warehouse, stream: Stream, without: Collection[str] = frozenset()
) -> None:
    """Raise OperatorNeeded where a migration is missing, or a column not yet widened.

    without: tables that are not asked for; a migration is of the table in its file's name.
    """
    missing = _missing(warehouse, stream)
    names = [name for name in missing if name.partition("_")[2] not in without]
    if not names and column_changes(stream, _columns(warehouse, stream, "type")):
        names = ["the wider columns"]
    if not names and column_defaults(stream, _columns(warehouse, stream, "default_expression")):
        names = ["the columns' defaults"]
    if names:
        raise OperatorNeeded(
            f"ClickHouse lacks {', '.join(names)} of stream {stream.name}",
            f"Run `millstream migrate {stream.path}`",
        )


def _columns(warehouse: Warehouse, stream: Stream, what: str) -> dict[str, str]:
    """Column of `events` -> its `type`, `comment` or `default_expression`, as ClickHouse has it."""
    return dict(
        warehouse.query(
            f"SELECT name, {what} FROM system.columns "
            "WHERE database = {name:String} AND table = 'events'",
            name=stream.name,
        )
    )


def _missing(warehouse: Warehouse, stream: Stream) -> Iterable[str]:
    exists = warehouse.query(
        "SELECT count() FROM system.tables WHERE database = {name:String} AND name = 'migrations'",
        name=stream.name,
    )
    wanted = migrations(stream)
    if not exists[0][0]:
        return [step.name for step in wanted]
    applied = dict(warehouse.query(f"SELECT name, digest FROM {stream.name}.migrations"))
    return [step.name for step in pending(applied, wanted)]


def translate(error: ClickHouseError) -> MillstreamError:
    """clickhouse-connect's error as one of ours, decided by ClickHouse's code."""
    code = getattr(error, "code", None)
    text = str(error).splitlines()[0][:500] if str(error) else type(error).__name__
    if code in _ASK_OPERATOR:
        problem, _, remedy = _ASK_OPERATOR[code].partition("; ")
        return OperatorNeeded(f"ClickHouse: {problem} ({text})", remedy[0].upper() + remedy[1:])
    if isinstance(error, ProgrammingError):
        return OperatorNeeded(f"ClickHouse: {text}", "Run `millstream check` on the stream")
    return DependencyUnavailable(CLICKHOUSE, text)


def _refused(error: ClickHouseError) -> MillstreamError:
    """An error of a person's own statement: what ClickHouse says of it, without its version."""
    code = getattr(error, "code", None)
    if code is None or code in _ASK_OPERATOR.keys() - {16, 53, 60, 81}:
        return translate(error)
    text = " ".join(str(error).split())
    text = re.sub(r"^.*?(?=Code: \d+)|\(version [^)]*\)|\(for url [^)]*\)", "", text).strip()
    return OperatorNeeded(f"ClickHouse: {text[:1000]}", "Mend the statement")


def broken(block: Block, look: Look) -> InvariantBroken:
    """The rows contradict the protocol."""
    source = block.source
    return InvariantBroken(
        f"{source.table} holds {look.count} rows of {source.topic}-{source.partition} in offsets "
        f"{block.first} to {block.last} while its highest offset is {look.mark}: rows are missing "
        "or doubled",
        "Stop every sink of this stream and compare the table's rows with the topic",
    )


def _open(folder: Path) -> Client:
    """chDB on a folder. Its errors carry no code; the usual one is a folder in use."""
    try:
        return clickhouse_connect.get_client(interface="chdb", path=str(folder))
    except ClickHouseError as why:
        raise OperatorNeeded(
            f"ClickHouse: chDB cannot open {folder}: {str(why).splitlines()[0][:300]}",
            "Stop the other process that has it open, or use that one's HTTP address",
        ) from why


def _ask(call: Callable[[], T]) -> T:
    try:
        return call()
    except ClickHouseError as why:
        raise translate(why) from why
