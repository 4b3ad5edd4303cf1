"""What the pages show: each method asks ClickHouse and gives JSON's types. Nothing is kept here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from consumers.console.reach import Reach
from consumers.performance import Range, read
from consumers.warehouse import require_tables
from millstream.console import queries
from millstream.console.plain import plain_object
from millstream.errors import SettingsInvalid
from millstream.models.bundle import Bundle
from millstream.models.card import Card
from millstream.performance.answers import Asked
from millstream.performance.report import Cell, report
from millstream.performance.windows import width_for
from millstream.stream import Stream
from millstream.warehouse.ddl import event_columns

MEASURES: Final = {
    "psi": "population stability index",
    "js": "Jensen-Shannon distance",
    "ks": "Kolmogorov-Smirnov distance",
    "nulls": "share of nulls",
}
"""Of the heat map."""
_SHOWN: Final = ("accuracy", "log_loss", "auc", "f1", "brier", "calibration_error", "cost")
_VALUES: Final = ("mae", "rmse")


class Pages:
    """One stream's pages. now_us: the time. Raises as Reach.rows, and OperatorNeeded."""

    def __init__(
        self, stream: Stream, reach: Reach, rows_max: int, now_us: Callable[[], int]
    ) -> None:
        self._stream = stream
        self._db = stream.name
        self._reach = reach
        self._rows_max = rows_max
        self._now_us = now_us
        self._card: Card | None = None

    def performance(self) -> dict[str, Any]:
        """The performance report of the newest predictions, without what no page shows."""
        stream = self._stream
        self._card = self._card or Bundle.load(stream.bundle_path).card
        loaded = read(stream, self._reach.warehouse(), [self._card], Range(rows_max=self._rows_max))
        times = [answers.event_us for answers in loaded.answers]
        made = report(
            loaded.answers,
            loaded.refused,
            Asked(
                now_us=self._now_us(),
                wait_us=stream.label.outcome_wait_s * 1_000_000,
                # of the answers alone: a letter without an event time has the time of its refusal
                width_us=width_for(np.concatenate(times)) if times else None,
                false_positive=stream.costs.false_positive,
                false_negative=stream.costs.false_negative,
                matrix=stream.costs.matrix,
                fairness=stream.fairness,
            ),
        )
        regression = stream.label.kind == "regression"
        said = {
            name: [_cell(cell) for cell in getattr(made, name)]
            for name in ("versions", "newest", "windows", "slices")
        }
        return plain_object(
            {
                **said,
                "measures": _VALUES if regression else _SHOWN,
                "width_ms": made.width_us / 1_000,
                "mature_age_s": None if made.mature_age_us is None else made.mature_age_us / 1e6,
                "ever": made.ever if made.settled else None,
                "gaps": [gap.as_json() for gap in made.gaps],
                "alarms": [asdict(alarm) for alarm in made.alarms],
                "notes": loaded.notes,
                "rows_max": self._rows_max,
            }
        )

    def drift(self, measure: str) -> dict[str, Any]:
        """The heat map of a measure, alarms and warnings, the error rate as the monitor read it.

        Raises SettingsInvalid where there is no such measure.
        """
        if measure not in MEASURES:
            raise SettingsInvalid(
                f"there is no measure {measure[:40]}", f"Ask for one of {', '.join(MEASURES)}"
            )
        ((first, last, count),) = self._rows(queries.drift_span_sql(self._db))
        buckets = max(1, min(int(count), queries.BUCKETS))
        step = max(1, (int(last) - int(first)) // buckets + 1)
        cells = (
            self._rows(
                queries.drift_cells_sql(self._db), first=int(first), step=step, measure=measure
            )
            if count
            else []
        )
        seen = {str(feature) for feature, _, _ in cells}
        order = [name for name in self._stream.features.order if name in seen]
        found = (
            "at", "detector", "signal", "measure", "status", "feature", "slice", "version",
            "value", "threshold", "partition", "offset",
        )  # fmt: skip
        return plain_object(
            {
                "measure": measure,
                "measures": MEASURES,
                "features": [*order, *sorted(seen - set(order))],
                "first": first,
                "step": step,
                "buckets": max((int(bucket) for _, bucket, _ in cells), default=-1) + 1,
                "cells": cells,
                "found": self._named(found, queries.drift_found_sql(self._db)),
                "error_rate": self._rows(queries.error_rate_sql(self._db))[::-1],
                "watched": self._stream.watch.inputs,
            }
        )

    def incidents(self) -> dict[str, Any]:
        """Each incident with its revisions, its evidence and the alarms that were raised of it."""
        names = (
            "id", "verdict", "status", "cause", "features", "slices", "partition", "offset",
            "first", "updated", "revision", "evidence",
        )  # fmt: skip
        made = self._named(names, queries.incidents_sql(self._db))
        by_id = {one["id"]: one for one in made}
        for one in made:
            one["evidence"] = _object(one["evidence"])
            one["revisions"], one["alarms"] = [], []
        revision = ("revision", "status", "verdict", "at")
        for name, *rest in self._rows(queries.revisions_sql(self._db), ids=list(by_id)):
            by_id[name]["revisions"].append(dict(zip(revision, rest, strict=True)))
        alarm = ("rule", "severity", "status", "summary", "at")
        for source, *rest in self._rows(queries.alarms_of_sql(self._db)):
            told = by_id.get(str(source).removeprefix("incident/"))
            if told is not None:
                told["alarms"].append(dict(zip(alarm, rest, strict=True)))
        return plain_object({"incidents": made})

    def letters(self) -> dict[str, Any]:
        """Dead letters by cause."""
        names = (
            "stage", "error", "version", "schema", "letters", "first", "last", "partitions",
            "reason", "again",
        )  # fmt: skip
        return plain_object({"groups": self._named(names, queries.letter_groups_sql(self._db))})

    def letters_of(self, stage: str, error: str, version: str, schema: int) -> dict[str, Any]:
        """The newest letters of one cause; schema: -1 for those that had none."""
        names = (
            "topic", "partition", "offset", "at", "reason", "attempt", "letter_partition",
            "letter_offset", "key", "begins", "bytes",
        )  # fmt: skip
        rows = self._named(
            names,
            queries.letters_sql(self._db),
            stage=stage,
            error=error,
            version=version,
            schema=schema,
        )
        for row in rows:
            row["begins"] = _readable(bytes.fromhex(row["begins"]))
        return plain_object({"letters": rows, "private": bool(self._stream.privacy.private)})

    def tables(self) -> dict[str, Any]:
        """Tables and views of the database with their columns, for whoever writes SQL."""
        require_tables(self._reach.warehouse(), self._stream)
        made: dict[str, list[dict[str, str]]] = {}
        for table, *column in self._rows(queries.COLUMNS_SQL, database=self._db):
            named = dict(zip(("name", "type", "comment"), column, strict=True))
            made.setdefault(str(table), []).append(named)
        fields = list(event_columns(self._stream))
        return plain_object({"database": self._db, "tables": made, "fields": fields})

    def _rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._reach.rows(sql, **parameters)

    def _named(self, names: Sequence[str], sql: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(zip(names, row, strict=True)) for row in self._rows(sql, **parameters)]


def _cell(cell: Cell) -> dict[str, Any]:
    realised = cell.realised.as_json() if cell.realised is not None else {}
    kept = {name: realised[name] for name in (*_SHOWN, *_VALUES) if name in realised}
    return {
        "version": cell.version,
        "window": None if cell.window_us is None else [us / 1_000 for us in cell.window_us],
        "slice": cell.slice,
        "answers": cell.answers,
        "labels": cell.labels,
        "share_in": cell.share_in,
        "mature": cell.mature,
        "realised": kept,
        "rows": realised.get("rows", 0),
        "estimated": cell.estimated.accuracy if cell.estimated and cell.estimated.rows else None,
        "gap": cell.gap,
        "bound": cell.bound,
        "trusted": cell.trusted,
        "doubts": cell.doubts,
        "latency_ms": cell.latency_ms,
        "error_rate": cell.error_rate,
    }


def _object(text: str) -> Mapping[str, Any]:
    """Evidence is a JSON object of texts; what is none is shown as it is."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {"": text}
    return found if isinstance(found, dict) else {"": text}


def _readable(raw: bytes) -> str:
    """Bytes as text: what is not printable ASCII is a dot.

    >>> _readable(bytes([0, 60, 98, 62, 255]))
    '.<b>.'
    """
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in raw)
