"""What moves, from ClickHouse: rates and latency, what fires, what changed.

Each look reads the rows behind the last one's offsets, by the table's order, and nothing else; so
its cost is that of what is new, however large the tables are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consumers.console.reach import Reach
from millstream.console import queries
from millstream.console.window import Window
from millstream.stream import Stream

FIRST_ROWS: Final = 50_000
"""Of each partition, at the first look. Too low begins with short curves; too high with a slow
look."""


class Tail:
    """A table's rows behind what was seen of it."""

    def __init__(self, reach: Reach, stream: Stream, kind: str) -> None:
        self._reach = reach
        self._db = stream.name
        self.table = kind
        self._topic = stream.topic(kind)
        self._cursors: dict[int, int] | None = None

    def news(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of `sql`, whose second column is the partition and whose last one is the mark."""
        if self._cursors is None:
            marks = self._reach.rows(queries.marks_sql(self._db, self.table), topic=self._topic)
            self._cursors = {int(p): max(-1, int(mark) - FIRST_ROWS) for p, mark in marks}
        cursors = self._cursors
        width = max(cursors, default=-1) + 1
        rows = self._reach.rows(
            sql,
            topic=self._topic,
            lowest=min(cursors.values(), default=-1) if len(cursors) == width else -1,
            cursors=[cursors.get(p, -1) for p in range(width)],
        )
        for row in rows:
            cursors[int(row[1])] = max(int(row[-1]), cursors.get(int(row[1]), -1))
        return rows


class Live:
    """One look after the other. clock: seconds since 1970. Used by one thread at a time."""

    def __init__(self, stream: Stream, reach: Reach, clock: Callable[[], float]) -> None:
        self._db = stream.name
        self._reach = reach
        self._clock = clock
        self._predictions = Tail(reach, stream, "predictions")
        self._letters = Tail(reach, stream, "dead_letters")
        self._window = Window()
        self._rows: dict[str, int] = {}
        self._said: dict[str, Any] = {"incidents": [], "alarms": [], "release": None}

    def look(self) -> dict[str, Any]:
        """The overview's part that ClickHouse knows. Raises as Reach.rows."""
        rows = {
            str(table): int(count)
            for table, count in self._reach.rows(queries.ROWS_SQL, database=self._db)
        }
        changed = {table for table, count in rows.items() if self._rows.get(table) != count}
        if "predictions" in changed or not self._rows:
            for second, _, bucket, count, kept, _ in self._predictions.news(
                queries.scored_sql(self._db)
            ):
                self._window.scored(int(second), int(bucket), int(count), int(kept))
        if "dead_letters" in changed or not self._rows:
            for second, _, count, _ in self._letters.news(queries.refused_sql(self._db)):
                self._window.refused(int(second), int(count))
        if changed & {"incidents", "alarms", "releases"} or not self._rows:
            self._said = self._say()
        self._rows = rows
        now = self._clock()
        self._window.trim(now)
        return {
            "now": self._window.now(now),
            "series": self._window.series(now),
            "rows": rows,
            **self._said,
        }

    def _say(self) -> dict[str, Any]:
        incidents = self._reach.rows(queries.open_incidents_sql(self._db))
        alarms = self._reach.rows(queries.alarms_sql(self._db))
        releases = self._reach.rows(queries.champion_sql(self._db))
        names = ("id", "verdict", "cause", "features", "first", "revision")
        alarm = ("id", "rule", "severity", "summary", "started")
        release = (
            "number", "kind", "champion", "champion_version", "challenger", "challenger_version",
            "canary_share", "at",
        )  # fmt: skip
        return {
            "incidents": [dict(zip(names, row, strict=True)) for row in incidents],
            "alarms": [dict(zip(alarm, row, strict=True)) for row in alarms],
            "release": dict(zip(release, releases[0], strict=True)) if releases else None,
        }
