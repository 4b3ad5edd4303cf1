"""The card: what it refuses, and that it survives being written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream.errors import BundleInvalid
from millstream.models.card import Card, Feature, Input, Output, Window, read_card, write_card
from tests.millstream.models.graphs import BINARY, CREATED, card, identity

FILE = Path("b/bundle.toml")


def test_a_written_card_reads_back_equal() -> None:
    """Every entry survives TOML, quotes and control characters in names included."""
    before = card(
        identity(),
        **BINARY
        | {
            "labels": ('n"o', "ye\ns\x7f é"),
            "positive": 'n"o',
            "threshold": 1e-07,
            "input": Input(layout="columns"),
            "output": Output(scores="scores", label="label"),
            "features": (
                Feature(name="a b.c", missing="nan"),
                Feature(name="s", type="category", missing_value=""),
                Feature(name="b", type="boolean"),
            ),
            "window": Window(start=CREATED, end=CREATED + timedelta(days=1), rows=5),
            "metrics": {"auc": 0.91, "log loss": 1e300},
            "parity_max_diff": 2.2e-16,
        },
    )
    assert read_card(write_card(before).encode(), FILE) == before


def _changed(old: str, new: str) -> bytes:
    text = write_card(card(identity(), **BINARY))
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kind = "binary"', "kind = ", "is not valid TOML"),
        ('kind = "binary"', "", "key kind is missing"),
        ('kind = "binary"', 'kind = "binary"\nlables = []', "unknown key lables.*'labels'"),
        ('name = "a"', 'name = "a"\nmising = "nan"', "features.0.mising.*'missing'"),
        ('type = "number"', 'type = "text"', "features.0.type"),
        ("threshold = 0.5", "threshold = 1.5", "threshold"),
        ("threshold = 0.5", 'threshold = "0.5"', "threshold"),
        ('positive = "yes"', 'positive = "maybe"', "binary needs two labels"),
        ('kind = "binary"', 'kind = "regression"', "positive and threshold are for binary"),
        ('name = "test"', 'name = "a/../b"', "name"),
        ('digest = "sha256:', 'digest = "sha1:', "digest"),
        ('labels = ["no", "yes"]', 'labels = ["yes", "yes"]', "same label twice"),
    ],
)
def test_a_damaged_card_is_refused_with_its_reason(old: str, new: str, says: str) -> None:
    """Each wrong entry is one line that names the file and the entry."""
    with pytest.raises(BundleInvalid, match=f"(?s)b/bundle.toml.*{says}") as caught:
        read_card(_changed(old, new), FILE)
    assert "\n" not in caught.value.remedy


def test_bytes_that_are_no_text_are_refused() -> None:
    """A binary file in the card's place is not TOML."""
    with pytest.raises(BundleInvalid, match="not valid TOML"):
        read_card(b"\xff\xfe\x00", FILE)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": (Feature(name="a"), Feature(name="a"))}, "declared twice"),
        ({"features": (Feature(name="a", type="category"),)}, "cannot hold category 'a'"),
        ({"kind": "multiclass", "labels": ("one",)}, "at least two labels"),
        ({"labels": ("one", "two")}, "regression has none"),
    ],
)
def test_entries_that_contradict_each_other_are_refused(changes: dict[str, Any], says: str) -> None:
    """A card is checked as a whole."""
    with pytest.raises(ValueError, match=says):
        card(identity(), **changes)


def test_a_feature_says_what_missing_means_in_its_own_way() -> None:
    """NaN is for numbers, missing_value for categories."""
    with pytest.raises(ValueError, match="a category has no NaN"):
        Feature(name="a", type="category", missing="nan")
    with pytest.raises(ValueError, match="missing_value is for categories"):
        Feature(name="a", missing_value="x")


def test_a_card_cannot_be_changed() -> None:
    """What was checked stays what was checked."""
    frozen: Any = card(identity())
    assert isinstance(frozen, Card)
    with pytest.raises(ValueError, match="frozen"):
        frozen.version = "2"
