"""The model card: measured facts, and a list of what nobody measured."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from millstream.drift.profile import make_profile
from millstream.models.card import Window
from millstream.models.evaluation import evaluate
from millstream.models.lineage import Lineage, OffsetRange, Query
from millstream.models.model_card import markdown, model_card, write_model_card
from millstream.models.proof import prove
from tests.millstream.models.graphs import CREATED
from tests.millstream.models.passports import FACTS, NAMES, bundle_of, library, rows

LINEAGE = Lineage(
    offsets=(OffsetRange(topic="t.events", partition=2, first=5, last=90),),
    query=Query(text="SELECT *\nFROM t", result_hash="sha256:" + "c" * 64),
    git_commit="d" * 40,
    dirty=True,
    recipe={"seed": 3},
)


def test_a_bare_bundle_says_what_is_not_known(tmp_path: Path) -> None:
    """It claims nothing."""
    bundle = bundle_of(tmp_path / "m")
    text = markdown(bundle, None)
    assert "whether it answers as it was trained: it has no passport" in text
    assert "passed" not in text
    assert model_card(bundle, None)["passed"] is None


def test_every_fact_of_the_passport_is_in_it(tmp_path: Path) -> None:
    """Measures with intervals, slices, checks, origin, and the features' range in training."""
    window = Window(start=CREATED, end=CREATED + timedelta(days=1), rows=300)
    bundle = bundle_of(tmp_path / "m", window=window)
    truth = np.where(np.arange(300) % 2, "yes", "no")
    slices = {"c|d": ["<x>"] * 300}
    evaluation = evaluate(bundle.card, truth, library(rows()), slices, resamples=20)
    facts = replace(FACTS, lineage=LINEAGE, evaluation=evaluation)
    passport = prove(bundle, rows(), library, facts).save(bundle.folder)
    make_profile("test", NAMES, rows()).save(bundle.folder)
    write_model_card(bundle, passport)
    text = (bundle.folder / "MODEL_CARD.md").read_text()
    for fact in (
        "# test 1",
        "`yes` at a probability of 0.5 and above",
        "trained on 300 rows, 2026-01-02",
        "On 300 held-out rows; 95% intervals from 20 resamples of blocks of 7",
        "| accuracy |",
        r"c\|d = &lt;x>",
        "| parity_hostile |",
        "t.events partition 2, offsets 5 to 90",
        "      FROM t",
        "`" + "d" * 40 + "` with changes that are not in it",
        "- seed = 3",
        "| a | number | becomes NaN | -",
    ):
        assert fact in text, fact
    unknown = text.partition("## Not known")[2].strip().splitlines()
    assert unknown == ["- how fast it is", "- which versions of the libraries made it"]
    fields = json.loads((bundle.folder / "model_card.json").read_text())
    assert fields["passed"] is True
    assert fields["passport"]["evaluation"]["rows"] == 300
    assert fields["features"][1]["null"] == "is refused"
    assert fields["not_known"] == [line[2:] for line in unknown]


def test_a_failed_check_is_shown_as_one(tmp_path: Path) -> None:
    """In bold."""
    bundle = bundle_of(tmp_path / "m")
    passport = prove(bundle, rows(), lambda b: library(b, fill=3.0), FACTS).passport
    assert "| **failed** |" in markdown(bundle, passport)
