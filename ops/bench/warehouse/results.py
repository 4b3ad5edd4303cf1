"""A run as Markdown and JSON: files of their own, never overwritten; and the year that follows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from ops.bench.machine import Machine, plain
from ops.bench.results import table
from ops.bench.warehouse.measure import Size, Timed

YEAR_EVENTS = 1_000 * 86_400 * 365
GIB = 2**30
_OF_THE_YEAR = ("events", "predictions", "labelled")


@dataclass(slots=True)
class Found:
    """What was measured. rows: by table. load_s: of generating. inserts: seconds of each insert.
    memory: bytes in memory at most, by the end of what is named."""

    machine: Machine
    rows: dict[str, int]
    load_s: float
    corrected: int
    sizes: list[Size] = field(default_factory=list)
    columns: list[tuple[str, str, float]] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    inserts: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


def write_results(found: Found, folder: Path, now: datetime) -> Path:
    """Write them; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"warehouse-{now:%Y-%m-%d-%H%M%S}"
    numbers = json.dumps(asdict(found), indent=1, default=str)
    (folder / f"{name}.json").write_text(plain(numbers) + "\n", "utf-8")
    path = folder / f"{name}.md"
    path.write_text(plain("\n\n".join(_markdown(found, now)) + "\n"), "utf-8")
    return path


def _markdown(found: Found, now: datetime) -> Iterator[str]:
    machine = found.machine
    yield f"# The warehouse, {now:%Y-%m-%d}"
    yield (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib:g} GiB, {machine.system}; "
        f"commit {machine.commit}; chdb {machine.versions['chdb']}; load at the start "
        f"{' '.join(f'{value:.1f}' for value in machine.load)}."
    )
    yield from _load(found)
    yield "## Questions"
    yield (
        "Seconds for the whole answer, thrown away by the engine: the first time, and the median "
        "of three more, by the clock and of all threads; merges count as well. Views that sum are "
        "asked about all rows."
    )
    yield table(
        ["question", "of", "rows", "first, s", "s", "CPU, s"],
        [
            [
                *(each.name, each.kind, f"{each.rows:,}"),
                *(f"{x:.3f}" for x in (each.first_s, each.s, each.cpu_s)),
            ]
            if not each.failed
            else [each.name, each.kind, "-", "-", "-", each.failed.replace("|", "/")]
            for each in found.timed
        ],
    )
    yield "## Sizes"
    yield table(
        ["table", "rows", "on disk, GiB", "bytes a row", "parts"],
        [
            [s.name, f"{s.rows:,}", f"{s.bytes / GIB:.3f}", f"{s.bytes / s.rows:.1f}", str(s.parts)]
            for s in found.sizes
        ],
    )
    yield "Columns of a byte a row or more:"
    yield table(
        ["column", "bytes a row"],
        [[f"{name}.{column}", f"{size:.1f}"] for name, column, size in found.columns],
    )
    if found.inserts:
        yield "## What projections cost an insert"
        yield "A block of 150,000 rows, with and without in turn:"
        yield table(
            ["table", "median, s", "least, s", "most, s"],
            [
                [name, *(f"{x:.3f}" for x in (statistics.median(s), min(s), max(s)))]
                for name, s in found.inserts.items()
            ],
        )
    yield "## A year at 1,000 events a second, on paper"
    yield year(found.sizes)


def _load(found: Found) -> Iterator[str]:
    total = sum(found.rows.values())
    rows = ", ".join(f"{n:,} {t}" for t, n in found.rows.items())
    made = (
        f"made in {found.load_s:,.0f} s by the engine itself, {total / found.load_s:,.0f} rows a "
        "second (nothing is read from Kafka: the sink's own rate is another bench's)"
    )
    yield (
        f"{total:,} rows: {rows}; {made if found.load_s else 'made by an earlier run'}. "
        f"{found.corrected / 1000:g} % of the labelled "
        "rows were corrected later. Two threads, 6 GB of memory a question at most."
    )
    if found.memory:
        most = (f"{size / GIB:.1f} GiB by the end of {name}" for name, size in found.memory.items())
        yield f"In memory at most, engine and bench together: {', '.join(most)}."


def year(sizes: list[Size]) -> str:
    """31.5 thousand million events a table, at the bytes a row that were measured."""
    rows, total = [], 0.0
    for each in sizes:
        if each.name in _OF_THE_YEAR:
            size = YEAR_EVENTS * each.bytes / each.rows / 1e12
            total += size
            rows.append([each.name, f"{each.bytes / each.rows:.1f}", f"{size:.2f}"])
    rows.append(["together", "", f"{total:.2f}"])
    return table(["table", "bytes a row", "TB a year"], rows)
