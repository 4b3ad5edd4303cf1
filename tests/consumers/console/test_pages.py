"""What the pages get, against the same rows read otherwise."""

from __future__ import annotations

import pytest

from consumers.console.pages import Pages
from consumers.console.reach import Reach
from millstream.errors import SettingsInvalid
from tests.consumers.console.planted import HOSTILE, LABELLED, MOVED, OPEN_INCIDENT, Planted


@pytest.fixture
def pages(planted: Planted, reach: Reach) -> Pages:
    """Half an hour after the last event of the planted stream."""
    return Pages(planted.stream, reach, 100_000, lambda: planted.now_us)


def test_the_performance_page_has_the_reports_accuracy(
    pages: Pages, reach: Reach, planted: Planted
) -> None:
    """Of each version, over the labels that came: the newest row of each."""
    said = pages.performance()
    by = {cell["version"]: cell for cell in said["versions"]}
    rows = reach.rows(
        "SELECT concat(model, ' ', model_version), avg(label = predicted), count() "
        f"FROM {planted.stream.name}.labelled_now GROUP BY 1"
    )
    assert sum(count for _, _, count in rows) == LABELLED
    for version, accuracy, count in rows:
        assert by[version]["rows"] <= count
        assert by[version]["realised"]["accuracy"] == pytest.approx(accuracy, abs=0.04)
    assert said["measures"][0] == "accuracy"
    assert all(cell["window"][0] < cell["window"][1] for cell in said["windows"])


def test_the_heat_map_has_every_feature_in_the_models_order(pages: Pages, planted: Planted) -> None:
    """And shows the one that moved."""
    said = pages.drift("psi")
    assert said["features"] == list(planted.stream.features.order)
    worst = max(said["cells"], key=lambda cell: cell[2])
    assert worst[0] == MOVED
    assert {bucket for _, bucket, _ in said["cells"]} <= set(range(said["buckets"]))
    assert [one["measure"] for one in said["found"]] == ["moved", "moved"]
    assert said["error_rate"][0][0] < said["error_rate"][-1][0]


def test_a_measure_that_there_is_not_is_refused(pages: Pages) -> None:
    """With those that there are."""
    with pytest.raises(SettingsInvalid, match="psi"):
        pages.drift("'; DROP TABLE x")


def test_an_incident_comes_with_its_revisions_evidence_and_alarms(pages: Pages) -> None:
    """As it is now; the evidence is what was written, markup and all."""
    said = {one["id"]: one for one in pages.incidents()["incidents"]}
    one = said[OPEN_INCIDENT]
    assert (one["verdict"], one["status"], one["revision"]) == ("harmful_shift", "updated", 2)
    assert [r["verdict"] for r in one["revisions"]] == ["harmless_shift", "harmful_shift"]
    assert one["evidence"]["note"] == HOSTILE
    assert [alarm["rule"] for alarm in one["alarms"]] == ["incident"]
    assert len(said) == 2


def test_letters_are_grouped_by_cause_and_listed(pages: Pages) -> None:
    """The most first; a letter without a schema id has a group of its own."""
    groups = pages.letters()["groups"]
    assert [(g["error"], g["letters"], g["schema"]) for g in groups] == [
        ("truncated", 9, 1),
        ("bad_value", 1, None),
    ]
    letters = pages.letters_of("decode", "truncated", "2", 1)["letters"]
    assert len(letters) == 9
    assert letters[0]["begins"] == ".....<b>"
    (hostile,) = pages.letters_of("validate", "bad_value", "2", -1)["letters"]
    assert (hostile["reason"], hostile["key"]) == (HOSTILE, HOSTILE)


def test_the_tables_are_told_with_what_their_columns_mean(pages: Pages, planted: Planted) -> None:
    """From ClickHouse's own comments."""
    said = pages.tables()
    assert said["database"] == planted.stream.name
    columns = {c["name"]: c for c in said["tables"]["predictions"]}
    assert columns["confidence"]["type"] == "Nullable(Float64)"
    assert columns["model_version"]["comment"] == "Its version"
