"""Incidents: one for each cause, with the right verdict, opened once and resolved."""

from __future__ import annotations

import pytest

from tests.millstream.drift.faults import FAULTS, watched


@pytest.mark.parametrize("delay", [0, 500, 2_000])
def test_faults_of_the_four_verdicts_are_named_right(delay: int) -> None:
    """At least 11 of 12, none opened twice, nothing opened without a cause."""
    right = 0
    said = []
    for seed, fault in enumerate(FAULTS):
        told = watched(fault, seed, delay)
        opened = [one for one in told if one.status == "opened"]
        final = [one.verdict for one in told if one.status == "resolved"]
        right += len(opened) == 1 and final == [fault.verdict]
        said.append((fault.name, [(o.verdict, o.features, o.status, o.first.offset) for o in told]))
        assert len({one.id for one in opened}) == len(opened), said[-1]
        assert len(opened) <= 1, said[-1]
    assert right >= 11, said
