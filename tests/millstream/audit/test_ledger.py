"""Findings are counted in full and listed in part."""

from __future__ import annotations

import numpy as np

from millstream.audit.ledger import MEANING, SHOWN_MAX, Kind, Ledger


def test_totals_count_everything_and_the_first_twenty_are_listed() -> None:
    """Two reports of one place are one finding; its line says how many are not listed."""
    ledger = Ledger()
    ledger.add(Kind.LOST, "a.events", 1, np.arange(15))
    ledger.add(Kind.LOST, "a.events", 1, np.arange(100, 125))
    (found,) = ledger.findings()
    assert found.total == 40
    assert found.offsets == (*range(15), *range(100, 105))
    assert len(found.offsets) == SHOWN_MAX
    assert found.last == 124
    assert found.text.startswith("a.events-1: 40 events below the committed offset")
    assert found.text.endswith("104 and 20 more")


def test_nothing_is_no_finding() -> None:
    """No offsets and a count of nothing leave the ledger empty."""
    ledger = Ledger()
    ledger.add(Kind.LOST, "a.events", 1, [])
    ledger.count(Kind.NOT_RESCORED, "a.events", None, 0)
    assert ledger.findings() == []


def test_damage_comes_before_doubt() -> None:
    """Whatever was found first."""
    ledger = Ledger()
    ledger.count(Kind.NOT_RESCORED, "a.events", None, 3, "no bundle")
    ledger.add(Kind.ROW_DIFFERS, "events", 0, [4])
    assert [(each.kind, each.certain) for each in ledger.findings()] == [
        (Kind.ROW_DIFFERS, True),
        (Kind.NOT_RESCORED, False),
    ]


def test_every_kind_has_a_sentence() -> None:
    """A finding without words cannot be acted on."""
    assert set(MEANING) == set(Kind)
