"""Labelled rows out of a file, DVC-tracked ones among them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar.schema import parse_record
from millstream.models.card import Card
from millstream.models.lineage import DataFile, hash_of
from millstream.performance.metrics import Ints
from millstream.sources.cells import Target, convert, unfit_cells
from millstream.sources.formats import ABSENT, open_table, readable
from millstream.stream import Stream
from millstream.toml import nearest
from millstream.training.rows import CannotTrain, Rows, Task

DVC_BYTES_MAX: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Columns:
    """label: the column with what was true. time: with the time; None: the event's time field if
    the file has it, else the file's order, a microsecond a row."""

    label: str = "label"
    time: str | None = None


def rows_of_file(
    stream: Stream,
    path: Path,
    columns: Columns | None = None,
    champion: Card | None = None,
    task: Task | None = None,
) -> Rows:
    """The rows of a .csv, .jsonl or .ndjson file (each also with .gz) or a .parquet file.

    Features are read as the event schema has them. Rows without a label are left out. task: else
    what the rows and the champion's card show. Raises SettingsInvalid, ContractMismatch (a damaged
    file, a cell that does not fit), CannotTrain (a column is not there).
    """
    columns = columns or Columns()
    fields = {field.name: field for field in parse_record(stream.schema_of_event.text).fields}
    table = open_table(path)
    time = columns.time
    if time is None and stream.event.time in (table.names or (stream.event.time,)):
        time = stream.event.time
    wanted = [*stream.features.order, columns.label, *([time] if time else [])]
    for name in wanted if table.names is not None else ():
        if name not in (table.names or ()):
            raise CannotTrain(
                f"{path} has no column {name}{nearest(name, list(table.names or ()))}",
                "Name the label's column with --label, the time's with --time-column",
            )
    targets = {name: Target.of(fields[name]) for name in stream.features.order}
    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    numbers: list[Ints] = []
    chunks = table.chunks(list(dict.fromkeys(wanted)))
    while True:
        with readable(path):
            chunk = next(chunks, None)
        if chunk is None:
            break
        if chunk.torn:
            raise CannotTrain(f"{path}, row {chunk.torn[0][0]}: {chunk.torn[0][1]}", "Mend it")
        numbers.append(chunk.rows)
        for name, target in targets.items():
            parts[name].append(_read(path, chunk.rows, chunk.columns[name], target, table.text))
        parts[columns.label].append(_text(chunk.columns[columns.label]))
        if time is not None:
            target = Target.of(fields[stream.event.time])
            parts[time].append(_read(path, chunk.rows, chunk.columns[time], target, table.text))
    if not numbers:
        raise CannotTrain(f"{path} has no rows", "Give a file with labelled rows")
    return _rows(stream, parts, columns.label, time, np.concatenate(numbers), (champion, task))


def lineage_of(path: Path, rows: int | None, beside: Path) -> DataFile:
    """The file's origin: DVC's md5 where DVC tracks it, else its sha256. beside: the folder that
    its path is told from. rows: None where nobody counted them.

    Raises CannotTrain where the file is not the one that DVC tracks, or was not pulled; OSError.
    """
    tracked, name = dvc_md5(path), _from(path, beside)
    if tracked is None:
        return DataFile(path=name, hash=hash_of(path), rows=rows)
    md5, by = tracked
    if not path.is_file():
        raise CannotTrain(f"{path} is tracked by {by} but not here", f"Run `dvc pull {path}`")
    found = hash_of(path, "md5")
    if found != f"md5:{md5}":
        raise CannotTrain(
            f"{path} is not the file that {by} names: {found}, not md5:{md5}",
            f"Run `dvc checkout {path}`, or `dvc commit {path}` if it is meant to change",
        )
    return DataFile(path=name, hash=found, rows=rows, dvc=_from(by, beside))


def dvc_md5(path: Path) -> tuple[str, Path] | None:
    """The md5 that DVC has for a file, and where it says so: FILE.dvc beside it, or a dvc.lock
    there or above."""
    beside = path.with_name(path.name + ".dvc")
    places = [(beside, path.name)]
    for folder in path.resolve().parents:
        places.append((folder / "dvc.lock", path.resolve().relative_to(folder).as_posix()))
        if (folder / ".git").exists():
            break
    for place, name in places:
        if place.is_file() and place.stat().st_size <= DVC_BYTES_MAX:
            md5 = _listed(place.read_text("utf-8", errors="replace"), name)
            if md5 is not None:
                return md5, place
    return None


def _listed(text: str, wanted: str) -> str | None:
    """The md5 beside `path: wanted` among outs; enough YAML for DVC's own files. Deps do not count:
    while a pipeline runs, a later stage's still tell the file of the run before."""
    outs = False
    item: dict[str, str] = {}
    for line in [*text.splitlines(), "- end"]:
        bare = line.strip()
        if bare.startswith("- ") or bare.endswith(":"):  # another item, list or stage
            if outs and item.get("path") == wanted and len(item.get("md5", "")) == 32:
                return item["md5"]
            item = {}
        if not bare.startswith("- ") and bare.endswith(":"):
            outs = bare == "outs:"
        key, colon, value = bare.removeprefix("- ").partition(":")
        if colon:
            item[key.strip()] = value.strip().strip("'\"")
    return None


def _from(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _rows(
    stream: Stream,
    parts: dict[str, list[Any]],
    label: str,
    time: str | None,
    numbers: Ints,
    by: tuple[Card | None, Task | None],
) -> Rows:
    columns = pa.table({name: pa.chunked_array(parts[name]) for name in stream.features.order})
    texts = np.array(pa.chunked_array(parts[label]).to_pylist(), dtype=object)
    labelled = np.array([text not in (None, "") for text in texts.tolist()], np.bool_)
    labels = texts
    if stream.label.kind == "regression":
        try:
            labels = np.array([float(text) if text else np.nan for text in texts.tolist()])
        except ValueError as why:
            raise CannotTrain(f"column {label}: {why}", "Name the column with the value") from None
        labelled &= np.isfinite(labels)
    times: Ints = numbers.astype(np.int64)
    if time is not None:
        found = pa.chunked_array(parts[time]).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        if found.null_count:
            raise CannotTrain(f"column {time} is empty in some rows", "Mend the rows")
        times = np.asarray(found, np.int64)
    order = np.argsort(times, kind="stable")
    order = order[labelled[order]]
    columns, labels = columns.take(pa.array(order)), labels[order]
    champion, task = by
    task = task or Task.of(stream, columns, labels, champion)
    return Rows(task, columns, labels, times[order], ids=[f"row {n}" for n in order.tolist()])


def _read(path: Path, rows: Ints, cells: Any, target: Target, text: bool) -> Any:
    try:
        return convert(cells, target, empty_is_null=text)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        at, reason = next(iter(unfit_cells(cells, target, empty_is_null=text, private=True)))
        raise CannotTrain(
            f"{path}, row {int(rows[at])}, column {target.name}: {reason}",
            "Mend the row (rows count from 0)",
        ) from None


def _text(cells: Any) -> Any:
    """Labels as outcomes have them: 1.0 of a Parquet or JSON file of whole numbers is 1, and NaN,
    like a member that a JSON object lacks, is no label."""
    if isinstance(cells, list):
        return pa.array([_plain(cell) for cell in cells], pa.string())
    if pa.types.is_floating(cells.type):
        return pa.array([_plain(cell) for cell in cells.to_pylist()], pa.string())
    return cells.cast(pa.string())


def _plain(cell: Any) -> str | None:
    if cell is None or cell is ABSENT or cell != cell:  # noqa: PLR0124 - NaN
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    return str(cell)
