"""Files of events, as batches of exactly the Arrow types of a stream's event schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar.schema import parse_record, record_columns
from millstream.errors import ContractMismatch, SettingsInvalid
from millstream.sources.cells import Target, convert, unfit_cells
from millstream.sources.formats import ABSENT, Chunk, open_table, readable
from millstream.toml import nearest

__all__ = ["EventFile", "Layout", "Problem", "first_events"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file's columns become the event's fields.

    columns: field -> column of the file; a field that is not named takes the column of its name.
    constants: field -> the text that it has in every row.
    number: a field without a column and a prefix: it becomes ``PREFIX-ROW``, or the row's number
        alone where the field is an int or long.
    start_row, stop_row: only rows start_row <= row < stop_row are read. Rows count from 0.
    skip_bad: leave bad rows out and count them, in place of stopping at the first.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    number: tuple[str, str] | None = None
    start_row: int = 0
    stop_row: int | None = None
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one row of the file is no event. column is None where the whole row is damaged."""

    row: int
    column: str | None
    reason: str


class EventFile:
    """One file of events. After `batches` is used up, `skipped` and `ignored` say what was left.

    path: .csv, .jsonl or .ndjson (each also with .gz), .parquet.
    schema: the event schema, as Avro JSON text.
    private: fields whose cells no error may quote.

    Raises SettingsInvalid for a missing file, an unknown ending or a wrong layout, ContractMismatch
    for a damaged file or one without a column that the schema needs.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        layout: Layout | None = None,
        private: Collection[str] = (),
    ) -> None:
        self.path = path
        self.skipped = 0
        self.first_problem: Problem | None = None
        self._layout = layout or Layout()
        self._private = frozenset(private)
        record = parse_record(schema)
        self.schema = record_columns(record)
        self._targets = {f.name: Target.of(f) for f in record.fields}
        self._check_layout()
        self._table = open_table(path)
        self._constants = self._constant_cells()
        self._columns = self._chosen_columns()

    @property
    def ignored(self) -> list[str]:
        """Columns of the file that no field takes; known once the first batch is read."""
        return sorted(self._table.extra)

    def rows_estimate(self) -> int:
        """About how many rows `batches` will read; exact for Parquet and for small tidy files."""
        with readable(self.path):
            rows = self._table.rows_estimate()
        stop = rows if self._layout.stop_row is None else min(rows, self._layout.stop_row)
        return max(0, stop - self._layout.start_row)

    def batches(self) -> Iterator[Any]:
        """pyarrow.RecordBatch of `schema`, in file order, at most 10,000 rows each, never empty.

        Raises ContractMismatch at the first bad row, unless the layout skips them.
        """
        columns = list(dict.fromkeys(self._columns.values()))
        chunks = self._table.chunks(columns)
        while True:
            with readable(self.path):
                chunk = next(chunks, None)
            if chunk is None:
                return
            batch = self._batch(self._slice(chunk))
            if batch.num_rows:
                yield batch
            stop = self._layout.stop_row
            if stop is not None and len(chunk.rows) and chunk.rows[-1] >= stop - 1:
                return

    def _slice(self, chunk: Chunk) -> Chunk:
        """The part of the chunk between start_row and stop_row."""
        start, stop = self._layout.start_row, self._layout.stop_row
        first = int(np.searchsorted(chunk.rows, start))
        last = len(chunk.rows) if stop is None else int(np.searchsorted(chunk.rows, stop))
        torn = [t for t in chunk.torn if start <= t[0] and (stop is None or t[0] < stop)]
        cells = {name: column[first:last] for name, column in chunk.columns.items()}
        return Chunk(chunk.rows[first:last], cells, torn)

    def _batch(self, chunk: Chunk) -> Any:
        problems = [Problem(row, None, reason) for row, reason in chunk.torn]
        made: list[Any] = []
        for target in self._targets.values():
            try:
                made.append(self._column(target, chunk))
            except (pa.ArrowException, ValueError, TypeError, OverflowError):
                problems += self._unfit(target, chunk)
        if not problems:
            return pa.RecordBatch.from_arrays(made, schema=self.schema)
        problems.sort(key=lambda problem: problem.row)
        self.first_problem = self.first_problem or problems[0]
        if not self._layout.skip_bad:
            raise self._refused(problems[0])
        bad = {problem.row for problem in problems}
        self.skipped += len(bad)
        good = np.flatnonzero(~np.isin(chunk.rows, list(bad)))
        rest = {name: _take(cells, good) for name, cells in chunk.columns.items()}
        return self._batch(Chunk(chunk.rows[good], rest))

    def _column(self, target: Target, chunk: Chunk) -> Any:
        """One field's array for the rows of a chunk."""
        rows = len(chunk.rows)
        if target.name in self._constants:
            return pa.repeat(self._constants[target.name], rows)
        number = self._layout.number
        if number is not None and number[0] == target.name:
            return _numbered(chunk.rows, number[1], target)
        cells = self._cells(target, chunk)
        return convert(cells, target, empty_is_null=self._table.text)

    def _cells(self, target: Target, chunk: Chunk) -> Any:
        cells = chunk.columns[self._columns[target.name]]
        if isinstance(cells, list):
            absent = target.default if target.has_default else None
            return [absent if cell is ABSENT else cell for cell in cells]
        return cells

    def _unfit(self, target: Target, chunk: Chunk) -> list[Problem]:
        """The bad cells of one column; where bad rows are not skipped, the first of them."""
        column = self._columns[target.name]
        found = unfit_cells(
            self._cells(target, chunk),
            target,
            empty_is_null=self._table.text,
            private=target.name in self._private,
        )
        problems = (Problem(int(chunk.rows[at]), column, reason) for at, reason in found)
        if self._layout.skip_bad:
            return list(problems)
        return [next(problems)]

    def _refused(self, problem: Problem) -> ContractMismatch:
        where = f"row {problem.row}" + (f", column {problem.column}" if problem.column else "")
        return ContractMismatch(
            f"{self.path}, {where} (rows count from 0): {problem.reason}",
            "Mend the row, or leave bad rows out with --skip-bad",
        )

    def _check_layout(self) -> None:
        """Every option names a field, and no field is given twice."""
        layout = self._layout
        numbered = [layout.number[0]] if layout.number else []
        given = [*layout.columns, *layout.constants, *numbered]
        for name in given:
            if name not in self._targets:
                raise SettingsInvalid(
                    f"the event has no field {name}{nearest(name, list(self._targets))}",
                    "Name a field of the event schema in --map, --set and --number",
                )
            if given.count(name) > 1:
                raise SettingsInvalid(
                    f"field {name} is given twice", "Use one of --map, --set and --number for it"
                )
        if numbered:
            kind = self._targets[numbered[0]].field.type
            if kind not in (pa.string(), pa.int32(), pa.int64()):
                raise SettingsInvalid(
                    f"--number names {numbered[0]}, which is a {kind}",
                    "Only a string, int or long field can be numbered",
                )
        if layout.stop_row is not None and layout.stop_row <= layout.start_row:
            raise SettingsInvalid(
                f"--stop-row {layout.stop_row} is not above --start-row {layout.start_row}",
                "Give a range that holds rows",
            )

    def _constant_cells(self) -> dict[str, Any]:
        """Field -> scalar, for --set and for fields without a column that have a default."""
        made: dict[str, Any] = {}
        for name, text in self._layout.constants.items():
            target = self._targets[name]
            cells = pa.array([text.encode()], pa.binary())
            found = list(unfit_cells(cells, target, empty_is_null=True, private=False))
            if found:
                raise SettingsInvalid(f"--set {name}: {found[0][1]}", "Give another value")
            made[name] = convert(cells, target, empty_is_null=True)[0]
        names, number = self._table.names, self._layout.number
        taken = {*made, *self._layout.columns, *([number[0]] if number else [])}
        for name, target in self._targets.items():
            if names is not None and name not in {*taken, *names} and target.has_default:
                made[name] = convert([target.default], target)[0]
        return made

    def _chosen_columns(self) -> dict[str, str]:
        """Field -> column of the file, for every field that has to come from a column."""
        number = self._layout.number
        chosen = {
            name: self._layout.columns.get(name, name)
            for name in self._targets
            if name not in self._constants and (number is None or number[0] != name)
        }
        names = self._table.names
        for name, column in chosen.items():
            if names is not None and column not in names:
                raise ContractMismatch(
                    f"{self.path} has no column {column}{nearest(column, list(names))}, and field "
                    f"{name} of the event has no default",
                    f"Name its column with --map {name}=COLUMN, or fill it with --set {name}=VALUE "
                    f"or --number {name}",
                )
        return chosen


def first_events(batches: Iterator[Any], count: int) -> Iterator[Any]:
    """The batches up to `count` rows in all."""
    for batch in batches:
        if count <= 0:
            return
        yield batch.slice(0, count)
        count -= batch.num_rows


def _numbered(rows: Any, prefix: str, target: Target) -> Any:
    numbers = pa.array(rows)
    if target.field.type != pa.string():
        return pc.cast(numbers, target.field.type)
    return pc.binary_join_element_wise(prefix, pc.cast(numbers, pa.string()), "-")


def _take(cells: Any, at: Any) -> Any:
    return [cells[i] for i in at] if isinstance(cells, list) else cells.take(pa.array(at))
