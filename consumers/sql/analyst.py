"""Statements of people, in one stream's database: read-only unless they say otherwise, answered as
rows or as text in a format of ClickHouse's. The same on chDB, on its HTTP server and on a server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.warehouse import Warehouse
from millstream.errors import OperatorNeeded
from millstream.settings import WarehouseSettings
from millstream.sql.completion import Words
from millstream.sql.cookbook import cookbook

_ROWS: Final = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "FROM", "("}
)
_FIRST = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+|\()", re.DOTALL)
_AS_TEXT: Final = {
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 1,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a statement. is_cut: there are more than were asked for."""

    names: list[str]
    types: list[str]
    rows: list[list[Any]]
    is_cut: bool


class Analyst:
    """A connection for one person to the database of one stream."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @classmethod
    def connect(
        cls, settings: WarehouseSettings, database: str, *, may_write: bool = False
    ) -> Analyst:
        """Raises SettingsInvalid, OperatorNeeded as Warehouse.connect, and OperatorNeeded where
        the stream has no database yet."""
        warehouse = Warehouse.connect(settings)
        try:
            found = warehouse.query(
                "SELECT count() FROM system.databases WHERE name = {name:String}", name=database
            )
            if not found[0][0]:
                raise OperatorNeeded(
                    f"ClickHouse has no database {database}", "Run `millstream migrate STREAM.TOML`"
                )
            warehouse.enter(database, may_write=may_write)
        except BaseException:
            warehouse.close()
            raise
        return cls(warehouse)

    def rows(self, sql: str, parameters: Mapping[str, str], rows_max: int) -> Answer:
        """Rows of a statement, at most so many: values as JSON has them, times as text in UTC.

        Raises OperatorNeeded with ClickHouse's own words where it refuses the statement, and
        DependencyUnavailable.
        """
        settings = {**_AS_TEXT, "max_result_rows": rows_max + 1, "result_overflow_mode": "break"}
        form = "JSONCompactEachRowWithNamesAndTypes"
        body = b"".join(self._warehouse.text(sql, form, parameters, settings, is_whole=True))
        lines = [json.loads(line) for line in body.decode("utf-8", "replace").split("\n") if line]
        if not lines:
            return Answer([], [], [], False)
        names, types, *rows = lines
        return Answer(names, types, rows[:rows_max], len(rows) > rows_max)

    def text(self, sql: str, parameters: Mapping[str, str], form: str) -> Iterator[bytes]:
        """All rows of a statement in a format of ClickHouse's, piece by piece; raises as `rows`."""
        return self._warehouse.text(sql, form, parameters, {})

    def command(self, sql: str) -> None:
        """A statement without rows; raises as `rows`."""
        for _ in self._warehouse.text(sql, None, {}, {}):
            pass

    def words(self) -> Words:
        """What can be completed."""
        columns: dict[str, dict[str, str]] = {}
        for table, name, about in self._warehouse.query(
            "SELECT table, name, comment FROM system.columns WHERE database = currentDatabase() "
            "ORDER BY table, position"
        ):
            columns.setdefault(table, {})[name] = about
        tables = self._warehouse.query(
            "SELECT name, comment FROM system.tables WHERE database = currentDatabase() "
            "AND name NOT LIKE '.%'"
        )
        functions = self._warehouse.query(
            "SELECT name FROM system.functions WHERE alias_to = '' AND name NOT LIKE '\\_\\_%'"
        )
        recipes = {name: each.question for name, each in cookbook().items()}
        return Words(columns, dict(tables), [name for (name,) in functions], recipes)

    def close(self) -> None:
        self._warehouse.close()


def has_rows(sql: str) -> bool:
    """Whether a statement answers with rows, by its first word."""
    found = _FIRST.match(sql)
    return found is not None and found[1].upper() in _ROWS
