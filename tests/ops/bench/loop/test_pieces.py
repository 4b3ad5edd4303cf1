"""Prequential counting of what came through Kafka, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from millstream.errors import InvariantBroken
from ops.bench.loop.pieces import (
    Counted,
    Labelled,
    Piece,
    Setting,
    count,
    file_of,
    read,
    save,
)
from ops.bench.loop.streams import Stream

TRUTH = np.array([0, 1] * 10)
DATA = Stream("pairs", np.zeros((20, 1)), TRUTH, ("a",), ())
FIRST = DATA.warm_up
"""3 rows."""
LABELS = [str(code) for code in TRUTH[FIRST:]]
VERSIONS = ["first"] * 10 + ["retrained-1"] * 7


def rows(predicted: list[str]) -> Labelled:
    """All rows behind the warm-up, answered so."""
    return Labelled(range(FIRST, 20), predicted, LABELS, VERSIONS)


def test_each_answer_counts_against_its_own_outcome() -> None:
    """The champion of the moment, and the first model beside it."""
    counted = count(rows(["1"] * 17), ["1"] * 10 + ["0"] * 7, DATA)
    assert counted.right.tolist() == [label == "1" for label in LABELS]
    assert counted.frozen.tolist()[10:] == [label == "0" for label in LABELS[10:]]
    assert (counted.answered_first, counted.differing) == (10, 0)


def test_an_answer_of_the_first_model_that_is_not_its_own_is_counted() -> None:
    """Those of later models are theirs."""
    counted = count(rows(["0"] + ["1"] * 16), ["1"] * 10 + ["0"] * 7, DATA)
    assert counted.differing == 1


@pytest.mark.parametrize("offsets", [range(FIRST, 19), [FIRST, *range(FIRST, 19)]])
def test_a_missing_or_doubled_row_is_no_result(offsets: list[int]) -> None:
    """Nothing is counted."""
    wrong = replace(rows(["1"] * 17), offsets=offsets)
    with pytest.raises(InvariantBroken, match="labelled rows for 17 events"):
        count(wrong, ["1"] * 17, DATA)


def test_an_outcome_on_another_event_is_no_result() -> None:
    """The data set says which is whose."""
    wrong = replace(rows(["1"] * 17), labels=[*LABELS[1:], LABELS[0]])
    with pytest.raises(InvariantBroken, match="other events"):
        count(wrong, ["1"] * 17, DATA)


def test_a_piece_is_read_as_it_was_saved(tmp_path: Path) -> None:
    """To the last answer; each setting has a file of its own."""
    drawn = np.random.default_rng(1).random(1_001) < 0.7
    counted = Counted(drawn, ~drawn, 500, 0)
    piece = Piece("elec2", 500, Setting(100, 100), counted, (3, 900), True, {"trickled": 4})
    again = read(save(piece, tmp_path))
    assert again.loop.accuracy == piece.loop.accuracy
    assert (again.counted.right == drawn).all()
    assert (again.counted.frozen == ~drawn).all()
    assert replace(again, counted=counted) == piece
    settings = (Setting(100, 100), Setting(100, 100, 200.0), Setting(100, 100, trial=True))
    assert len({file_of(tmp_path, "elec2", 500, each) for each in settings}) == 3
