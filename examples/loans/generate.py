"""The loans stream, drawn by River's synth.Agrawal: events, and the labels that become known later.

One generator for each classification function, seeded SEED + FUNCTION, numbers perturbed by 5 %.
A change of concept replaces the function: at once, or over a width within which the i-th event
takes the new one with probability (i + 1) / width. Only P(label | features) changes.

    python examples/loans/generate.py --rows 20000 --out loans.csv
    python examples/loans/generate.py --rows 50000 --functions 0,3,6 --changes 10000,20000:2000 \
        --out loans.parquet
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from river.datasets import synth

from millstream.columnar import arrow_schema

SCHEMA: Final = arrow_schema(Path(__file__).with_name("event.v1.avsc").read_text("utf-8"))
BATCH_ROWS: Final = 10_000
PERTURBATION: Final = 0.05
GAP_S: Final = 0.5
"""Mean seconds between two applications."""
START: Final = np.datetime64("2024-01-01T00:00:00", "us")


@dataclass(frozen=True, slots=True)
class Change:
    """From event `at` on the next function is in force, wholly so `width` events later."""

    at: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Loans:
    """One batch.

    events: pyarrow.RecordBatch of the event schema. labels: 1 is approved. concepts: the function
    in force; neither is part of the event. All are equally long.
    """

    events: Any
    labels: npt.NDArray[np.int8]
    concepts: npt.NDArray[np.int8]


def loans(
    rows: int,
    seed: int = 42,
    functions: Sequence[int] = (0,),
    changes: Sequence[Change] = (),
    applicants: int = 5_000,
) -> Iterator[Loans]:
    """The stream in batches of at most 10,000 rows; the same arguments give the same rows.

    functions: Agrawal's classification functions (0 to 9) in order; one change between each two.
    applicants: how many different ones there are.
    Raises ValueError where functions and changes do not fit each other.
    """
    _check(functions, changes)
    draws = {function: _draws(function, seed + function) for function in set(functions)}
    random = np.random.default_rng(seed)
    in_force = _concepts(rows, functions, changes, random)
    now = START
    for first in range(0, rows, BATCH_ROWS):
        concepts = in_force[first : first + BATCH_ROWS]
        drawn = [next(draws[function]) for function in concepts.tolist()]
        gaps = np.maximum(1, random.exponential(GAP_S * 1e6, len(drawn))).astype("timedelta64[us]")
        times = now + np.cumsum(gaps)
        now = times[-1]
        columns = list(zip(*drawn, strict=True))
        who = random.integers(applicants, size=len(drawn)).tolist()
        arrays = [
            pa.array([f"L-{first + i}" for i in range(len(drawn))]),
            pa.array([f"A-{k}" for k in who]),
            pa.array(times.astype(np.int64)).cast(SCHEMA.field("applied_at").type),
            *(
                pa.array(values, SCHEMA.field(name).type)
                for name, values in zip(SCHEMA.names[3:], columns[:-1], strict=True)
            ),
        ]
        labels = np.array(columns[-1], dtype=np.int8)
        yield Loans(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), labels, concepts)


def _check(functions: Sequence[int], changes: Sequence[Change]) -> None:
    if len(changes) != len(functions) - 1:
        raise ValueError(f"{len(functions)} functions need {len(functions) - 1} changes")
    end = 0
    for change in changes:
        if change.at < end or change.width < 1:
            raise ValueError(f"the change at {change.at} begins before the last one is over")
        end = change.at + change.width


def _draws(function: int, seed: int) -> Iterator[tuple[Any, ...]]:
    """River's rows: nine features in the event schema's order, and the label.

    River evaluates the feature names as expressions for every row; names that are compiled already
    give the same rows 5 times as fast.
    """
    generator: Any = synth.Agrawal(
        classification_function=function, seed=seed, perturbation=PERTURBATION
    )
    names = generator.feature_names
    assert names == SCHEMA.names[3:], names
    generator.feature_names = [compile(name, name, "eval") for name in names]
    for features, label in generator:
        yield (*features.values(), label)


def _concepts(
    rows: int, functions: Sequence[int], changes: Sequence[Change], random: np.random.Generator
) -> npt.NDArray[np.int8]:
    """The function in force at each event."""
    made = np.full(rows, functions[0], dtype=np.int8)
    for function, change in zip(functions[1:], changes, strict=True):
        chance = np.arange(1, max(0, rows - change.at) + 1) / change.width
        made[change.at :][random.random(len(chance)) < chance] = function
    return made


def write(batches: Iterator[Loans], path: Path) -> int:
    """Write events, label and concept to a .csv or .parquet file; how many rows there were."""
    schema = SCHEMA.append(pa.field("label", pa.int8())).append(pa.field("concept", pa.int8()))
    rows = 0
    kind = pa_parquet.ParquetWriter if path.suffix == ".parquet" else pa_csv.CSVWriter
    with kind(path, schema) as writer:
        for batch in batches:
            columns = [*batch.events.columns, pa.array(batch.labels), pa.array(batch.concepts)]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            rows += batch.events.num_rows
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--functions", type=_numbers, default=[0], help="such as 0,3,6")
    parser.add_argument("--changes", type=_changes, default=[], help="AT or AT:WIDTH, such as 9000")
    parser.add_argument("--applicants", type=int, default=5_000)
    parser.add_argument("--out", type=Path, required=True, help=".csv or .parquet")
    given = parser.parse_args(arguments)
    if given.out.suffix not in (".csv", ".parquet"):
        parser.error(f"--out {given.out} ends neither in .csv nor in .parquet")
    if given.rows < 1 or given.applicants < 1:
        parser.error("--rows and --applicants must be at least 1")
    try:
        stream = loans(given.rows, given.seed, given.functions, given.changes, given.applicants)
        rows = write(stream, given.out)
    except (ValueError, OSError) as why:
        parser.error(str(why))
    sys.stdout.write(f"{rows:,} loan applications written to {given.out}\n")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _changes(text: str) -> list[Change]:
    return [Change(*(int(n) for n in part.split(":"))) for part in text.split(",")]


if __name__ == "__main__":
    main()
