"""A soak's account: what does not add up is named, and fails it."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from ops.soak.account import Account


def account(**changed: Any) -> Account:
    """Of 1,000 events, 10 of them unreadable, all well; `changed` in verify's report."""
    rows = {"events": 500, "predictions": 495, "dead_letters": 5}
    report = {
        "events": 1_000,
        "predictions": 990,
        "dead_letters": 10,
        "rescored": 9,
        "verdict": "clean",
        "seconds": 1.0,
        "findings": [],
        "partitions": [{"rows": rows}, {"rows": rows}],
    } | changed
    return Account(
        seed=1, seconds=10, rate=100, published=1_000, poisoned=10, report=report,
        faults={"kill -9": 2}, kills={"sink": 2}, peaks_mb={"sink": 100.0}, starts={"sink": 3},
    )  # fmt: skip


def test_a_clean_soak_has_no_problems() -> None:
    """Every number is what was published."""
    assert account().problems == []
    assert (account().gaps, account().duplicates) == (0, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"events": 999}, "events in Kafka: 999, not 1,000"),
        ({"dead_letters": 11}, "dead letters: 11, not 10"),
        ({"predictions": 991}, "predictions: 991, not 990"),
        (
            {"partitions": [{"rows": {"events": 1_001, "predictions": 990, "dead_letters": 10}}]},
            "rows of events: 1,001, not 1,000",
        ),
    ],
)
def test_a_number_that_is_another_is_a_problem(changed: dict[str, Any], said: str) -> None:
    """Also where verify finds its own numbers in order: a lost event is lost before Kafka."""
    assert account(**changed).problems == [said]


def test_what_verify_found_is_counted_and_said() -> None:
    """Gaps and duplicates by their kinds; its doubts fail the soak too."""
    findings = [
        {"kind": "lost", "total": 3, "text": "3 lost"},
        {"kind": "row_missing", "total": 2, "text": "2 missing"},
        {"kind": "row_doubled", "total": 4, "text": "4 doubled"},
        {"kind": "sink_stalled", "total": 7, "text": "stalled"},
    ]
    damaged = account(findings=findings)
    assert (damaged.gaps, damaged.duplicates) == (5, 4)
    assert damaged.problems == ["3 lost", "2 missing", "4 doubled", "stalled"]


def test_the_table_has_every_number() -> None:
    """In one place each."""
    console = Console(width=100, record=True, quiet=False)
    with console.capture() as printed:
        console.print(account().table())
    said = printed.get()
    for text in ("seed 1", "1,000", "990", "gaps", "duplicates", "peak memory of sink", "sink 2"):
        assert text in said
