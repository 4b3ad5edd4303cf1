"""Two bundles side by side: cards, passports and answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from millstream.models.card import Feature
from millstream.models.comparison import compared
from millstream.models.lineage import Lineage
from millstream.models.proof import prove
from tests.millstream.models.passports import (
    FACTS,
    NAN_FIRST,
    bundle_of,
    library,
    logistic,
    rows,
    with_passport,
)


def test_a_bundle_is_the_same_as_itself(tmp_path: Path) -> None:
    """No line at all."""
    bundle, _ = with_passport(tmp_path / "m")
    assert compared(bundle, bundle) == []


def test_what_differs_is_named_with_both_sides(tmp_path: Path) -> None:
    """Card, checks, lineage, and what they answer on golden rows."""
    old, _ = with_passport(tmp_path / "1", metrics={"auc": 0.8})
    new = bundle_of(tmp_path / "2", logistic(fill=9.0), version="2", threshold=0.7)
    facts = replace(FACTS, lineage=Lineage(git_commit="e" * 40))
    prove(new, rows(), lambda b: library(b, fill=9.0), facts).save(new.folder)
    lines = {line.what: (line.old, line.new) for line in compared(old, new)}
    assert lines["version"] == ("1", "2")
    assert lines["threshold"] == ("0.5", "0.7")
    assert lines["metrics auc"] == ("0.8", "none")
    assert lines["lineage git_commit"] == ("none", "e" * 40)
    assert lines["scores of golden rows"][0].startswith("differ by up to 0.")
    assert " flip" in lines["labels of golden rows"][0]


def test_other_features_are_not_scored(tmp_path: Path) -> None:
    """There are no rows that both could answer."""
    old, _ = with_passport(tmp_path / "1")
    features = (Feature(name="a"), *NAN_FIRST[1:])
    new = bundle_of(tmp_path / "2", logistic(1.0), version="2", features=features)
    lines = {line.what: (line.old, line.new) for line in compared(old, new)}
    assert lines["passport"] == ("yes", "none")
    assert "'missing': 'nan'" in lines["feature a"][0]
    assert "scores of golden rows" not in lines
