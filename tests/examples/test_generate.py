"""The loans generator draws River's own rows, the same each time, and changes concepts as told."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from river.datasets import synth

from examples.loans.generate import PERTURBATION, SCHEMA, Change, Loans, loans, main
from millstream.sources import EventFile

FEATURES = SCHEMA.names[3:]


def whole(*batches: Loans) -> Any:
    return pa.Table.from_batches([batch.events for batch in batches])


def test_rows_are_rivers() -> None:
    """Features and label equal those of a plain loop over synth.Agrawal with the same seed."""
    (batch,) = loans(500, seed=5, functions=[2])
    plain = synth.Agrawal(classification_function=2, seed=7, perturbation=PERTURBATION)
    drawn = list(itertools.islice(plain, 500))
    found = batch.events.select(FEATURES).to_pylist()
    assert found == [features for features, _ in drawn]
    assert batch.labels.tolist() == [label for _, label in drawn]


def test_batches_have_the_event_schema() -> None:
    """Ids are unique, applicants bounded, times rise by half a second on average."""
    batches = list(loans(25_000, applicants=50))
    assert [batch.events.num_rows for batch in batches] == [10_000, 10_000, 5_000]
    assert all(batch.events.schema == SCHEMA for batch in batches)
    table = whole(*batches)
    assert table["application_id"].to_pylist() == [f"L-{n}" for n in range(25_000)]
    assert set(table["applicant"].to_pylist()) == {f"A-{n}" for n in range(50)}
    times = table["applied_at"].cast(pa.int64()).to_numpy()
    gaps = np.diff(times, prepend=np.datetime64("2024-01-01", "us").astype(np.int64))
    assert gaps.min() > 0
    assert gaps.mean() / 1e6 == pytest.approx(0.5, rel=0.05)


def test_the_same_arguments_give_the_same_rows() -> None:
    """The stream depends on its arguments alone."""
    once, again, other = (whole(*loans(300, seed=seed)) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_without_changes_there_is_one_concept() -> None:
    """By default function 0 is in force from first to last."""
    (batch,) = loans(1_000)
    assert set(batch.concepts.tolist()) == {0}


def test_changes_replace_the_function() -> None:
    """An abrupt change is sharp; a gradual one mixes within its width and is over after it."""
    changes = [Change(1_000), Change(2_000, 1_000)]
    (batch,) = loans(4_000, functions=[0, 3, 6], changes=changes)
    concepts = batch.concepts
    assert set(concepts[:1_000]) == {0}
    assert set(concepts[1_000:2_000]) == {3}
    assert set(concepts[3_000:]) == {6}
    first, second = (np.mean(concepts[at : at + 500] == 6) for at in (2_000, 2_500))
    assert first == pytest.approx(0.25, abs=0.1)
    assert second == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize(
    ("functions", "changes"),
    [([0, 1], []), ([0], [Change(5)]), ([0, 1, 2], [Change(5, 10), Change(7)]), ([11], [])],
)
def test_arguments_that_do_not_fit(functions: list[int], changes: list[Change]) -> None:
    """Too few or too many changes, changes that overlap, and unknown functions are refused."""
    with pytest.raises(ValueError):
        list(loans(10, functions=functions, changes=changes))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_hold_the_events_and_the_truth(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has label and concept beside the event's fields, and reads back as the events."""
    path = tmp_path / f"loans.{ending}"
    main(["--rows", "12000", "--out", str(path), "--functions", "0,3", "--changes", "100:10"])
    assert "12,000 loan applications" in capsys.readouterr().out
    batches = list(loans(12_000, functions=[0, 3], changes=[Change(100, 10)]))
    avro = (Path(__file__).parents[2] / "examples/loans/event.v1.avsc").read_text("utf-8")
    events = EventFile(path, avro)
    assert pa.Table.from_batches(events.batches()).to_pylist() == whole(*batches).to_pylist()
    assert events.ignored == ["concept", "label"]
    labels = [int(label) for batch in batches for label in batch.labels]
    if ending == "csv":
        with path.open(newline="") as file:
            assert [int(row["label"]) for row in csv.DictReader(file)] == labels
    else:
        assert pa_parquet.read_table(path)["label"].to_pylist() == labels


@pytest.mark.parametrize(
    "options",
    [["--out", "loans.xls"], ["--rows", "0"], ["--functions", "0,1"], ["--changes", "x"]],
)
def test_wrong_options(tmp_path: Path, options: list[str]) -> None:
    """A wrong option ends it with 2, and argparse's line."""
    with pytest.raises(SystemExit) as caught:
        main(["--out", str(tmp_path / "loans.csv"), *options])
    assert caught.value.code == 2
