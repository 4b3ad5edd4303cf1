"""The models page's data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.console.models import Models
from consumers.console.reach import Reach
from millstream.errors import BundleInvalid
from tests.consumers.console.planted import EVENTS, PARTITIONS, SECOND, SWITCH, Planted


@pytest.fixture
def models(planted: Planted, reach: Reach) -> Iterator[Models]:
    """Of the planted stream."""
    made = Models(planted.stream, reach)
    yield made
    made.close()


def test_who_answered_is_counted_by_version_and_over_time(models: Models) -> None:
    """The newest first; the curve has every prediction once."""
    said = models.overview()
    assert [(v["version"], v["answers"]) for v in said["versions"]] == [
        ("2", EVENTS - SWITCH * PARTITIONS),
        ("1", SWITCH * PARTITIONS),
    ]
    assert sum(count for _, _, count in said["answers"]["cells"]) == EVENTS


def test_a_release_has_the_offsets_from_which_it_answers(models: Models) -> None:
    """Of each partition; decisions and retraining stand beside it."""
    said = models.overview()
    (release,) = said["releases"]
    assert (release["kind"], release["version"], release["digest"]) == ("promote", "2", SECOND)
    assert [(s["partition"], s["offset"]) for s in release["switches"]] == [(0, 800), (1, 800)]
    assert [d["verdict"] for d in said["decisions"]] == ["promote"]
    assert said["retraining"][-1]["outcome"] == "promoted"
    assert said["failures"] == []


def test_the_registry_is_listed_and_its_cards_are_read(models: Models, planted: Planted) -> None:
    """With digest, features and what no passport means."""
    (entry,) = models.overview()["registry"]["versions"]
    assert (entry["name"], entry["version"], entry["tags"]) == ("loans", "1", {"made_by": "a test"})
    card = models.card("loans", "1")
    assert card["facts"]["digest"] == entry["digest"]
    assert [f["name"] for f in card["facts"]["features"]] == list(planted.stream.features.order)
    assert card["passport"] is None
    assert card["lines"]


def test_a_version_that_nobody_has_is_said_to_be_missing(models: Models) -> None:
    """With those that there are; nor is a path a version."""
    for version in ("99", "../../etc"):
        with pytest.raises(BundleInvalid):
            models.card("loans", version)
