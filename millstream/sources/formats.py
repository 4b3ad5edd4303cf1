"""The three formats of event files, read in chunks of columns: CSV, JSON lines, Parquet.

Rows are counted from 0 as the file has them, the header and blank lines apart. Nothing is
converted here: CSV gives bytes, JSON lines give Python values, Parquet gives its own types.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from millstream.errors import ContractMismatch, SettingsInvalid
from millstream.sources.cells import Cells

CHUNK_ROWS: Final = 10_000
ROW_BYTES_MAX: Final = 8_388_608
"""Above it a CSV row or a JSON line is refused: the largest event that stream.toml allows."""
_SAMPLE_BYTES: Final = 33_554_432  # what rows_estimate reads of a file
ABSENT: Final = object()
"""Stands where a JSON object has no such member."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows in file order: their numbers, and the asked columns, equally long.

    torn: row number and reason of rows in or before this chunk that are no rows at all.
    """

    rows: npt.NDArray[np.int64]
    columns: dict[str, Cells]
    torn: list[tuple[int, str]] = field(default_factory=list)


class Table(Protocol):
    """One open file. `names` is None where each row names its own columns (JSON lines)."""

    names: tuple[str, ...] | None
    text: bool
    extra: set[str]

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]: ...
    def rows_estimate(self) -> int: ...


def open_table(path: Path) -> Table:
    """The file's format by its name.

    Raises SettingsInvalid for a missing file or an unknown ending, ContractMismatch where the file
    is not what its name says.
    """
    if not path.is_file():
        raise SettingsInvalid(f"{path} is no file", "Give a CSV, JSON lines or Parquet file")
    name = path.name.lower()
    zipped = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    with readable(path):
        if ending == ".csv":
            return CsvTable(path, zipped)
        if ending in (".jsonl", ".ndjson"):
            return JsonLinesTable(path, zipped)
        if ending in (".parquet", ".pq") and not zipped:
            return ParquetTable(path)
    raise SettingsInvalid(
        f"{path} has an ending that says no known format",
        "Name it .csv, .jsonl or .ndjson (each also with .gz), or .parquet",
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the readers raise for a damaged file, as one line about the file."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error) as why:
        text = " ".join(str(why).split())[:300]
        raise ContractMismatch(f"{path} cannot be read: {text}", "Repair the file") from None


class CsvTable:
    """Comma-separated with a header, UTF-8; quoted cells may hold commas and line ends."""

    text = True

    def __init__(self, path: Path, zipped: bool) -> None:
        self._path = path
        self._zipped = zipped
        self.extra: set[str] = set()
        with self._open(None, []) as reader:
            self.names: tuple[str, ...] | None = tuple(reader.schema.names)

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        doubled = [name for name, n in Counter(self.names).items() if n > 1 and name in columns]
        if doubled:
            raise ContractMismatch(
                f"{self._path} has more than one column {doubled[0]}", "Rename one of them"
            )
        names = self.names or ()
        self.extra = set(names) - set(columns)
        torn: list[tuple[int, str]] = []
        row = 0
        with self._open(columns or names[:1], torn) as reader:
            for block in reader:
                rows, row = _numbers(row, block.num_rows, {number for number, _ in torn})
                for start in range(0, block.num_rows, CHUNK_ROWS):
                    part = block.slice(start, CHUNK_ROWS)
                    here = rows[start : start + CHUNK_ROWS]
                    upto = [t for t in torn if t[0] < here[-1]]
                    del torn[: len(upto)]
                    cells = {name: part.column(name) for name in columns}
                    yield Chunk(here, cells, upto)
        if torn:
            none: dict[str, Cells] = {name: pa.array([], pa.binary()) for name in columns}
            yield Chunk(np.empty(0, np.int64), none, torn)

    def rows_estimate(self) -> int:
        return max(0, _lines(self._path, self._zipped) - 1)

    def _open(self, columns: Sequence[str] | None, torn: list[tuple[int, str]]) -> Any:
        """A streaming reader on one thread: only then are invalid rows numbered."""

        def skip(row: Any) -> str:
            cells = f"it has {row.actual_columns} cells, the header has {row.expected_columns}"
            torn.append((row.number - 2, cells))  # the header is number 1
            return "skip"

        convert = {}
        if columns is not None:
            convert = {
                "include_columns": list(columns),
                "column_types": dict.fromkeys(columns, pa.binary()),
                "strings_can_be_null": False,
            }
        return pa_csv.open_csv(
            pa.input_stream(str(self._path), compression="gzip" if self._zipped else None),
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=ROW_BYTES_MAX),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa_csv.ConvertOptions(**convert),
        )


class JsonLinesTable:
    """One JSON object a line, UTF-8."""

    text = False
    names: tuple[str, ...] | None = None

    def __init__(self, path: Path, zipped: bool) -> None:
        self._path = path
        self._zipped = zipped
        self.extra: set[str] = set()

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        wanted = set(columns)
        rows: list[int] = []
        objects: list[dict[str, Any]] = []
        torn: list[tuple[int, str]] = []
        for row, line in enumerate(self._lines()):
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as why:
                torn.append((row, f"it is no JSON: {why}"))
                continue
            if not isinstance(found, dict):
                torn.append((row, "it is no JSON object; one object a line is wanted"))
                continue
            rows.append(row)
            objects.append(found)
            if not found.keys() <= wanted:
                self.extra |= found.keys() - wanted
            if len(rows) == CHUNK_ROWS:
                yield _of_objects(rows, objects, columns, torn)
                rows, objects, torn = [], [], []
        if rows or torn:
            yield _of_objects(rows, objects, columns, torn)

    def rows_estimate(self) -> int:
        return _lines(self._path, self._zipped)

    def _lines(self) -> Iterator[bytes]:
        with _open_binary(self._path, self._zipped) as file:
            while line := file.readline(ROW_BYTES_MAX + 1):
                if len(line) > ROW_BYTES_MAX:
                    raise ContractMismatch(
                        f"{self._path} has a line above {ROW_BYTES_MAX:,} bytes",
                        "Write one JSON object a line",
                    )
                if line.strip():
                    yield line


class ParquetTable:
    """Apache Parquet."""

    text = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with pa_parquet.ParquetFile(path) as file:
            self.names: tuple[str, ...] | None = tuple(file.schema_arrow.names)
            self._rows = int(file.metadata.num_rows)
        self.extra: set[str] = set()

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        self.extra = set(self.names or ()) - set(columns)
        row = 0
        with pa_parquet.ParquetFile(self._path) as file:
            for part in file.iter_batches(CHUNK_ROWS, columns=list(columns)):
                rows, row = _numbers(row, part.num_rows, set())
                yield Chunk(rows, {name: part.column(name) for name in columns})

    def rows_estimate(self) -> int:
        return self._rows


def _numbers(first: int, count: int, torn: set[int]) -> tuple[npt.NDArray[np.int64], int]:
    """The numbers of `count` rows from `first` on that are not torn, and the next number."""
    numbers = np.arange(first, first + count + len(torn), dtype=np.int64)
    if torn:
        numbers = numbers[~np.isin(numbers, list(torn))]
    numbers = numbers[:count]
    return numbers, int(numbers[-1]) + 1 if count else first


def _of_objects(
    rows: list[int], objects: list[dict[str, Any]], columns: Sequence[str], torn: Any
) -> Chunk:
    cells: dict[str, Cells] = {
        name: [found.get(name, ABSENT) for found in objects] for name in columns
    }
    return Chunk(np.array(rows, dtype=np.int64), cells, torn)


def _open_binary(path: Path, zipped: bool) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _lines(path: Path, zipped: bool) -> int:
    """Lines of the file; of a large one, what its beginning promises."""
    found, last = 0, b"\n"
    with path.open("rb") as raw:
        file: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        while raw.tell() < _SAMPLE_BYTES and (block := file.read(1_048_576)):
            found += block.count(b"\n")
            last = block[-1:]
        read = raw.tell()
    found += last != b"\n"
    return int(found * path.stat().st_size / read) if read else 0
