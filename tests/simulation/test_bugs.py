"""The test of the test: each rule of the protocol, broken on purpose, is found by some seed."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS, RULES
from tests.simulation.run import simulate

SEEDS_MAX = 1_000
"""No bug needed more than a third of them when this was written."""


@pytest.mark.parametrize("name", BUGS)
def test_the_simulation_finds(name: str) -> None:
    """A seed fails while the bug is planted, and keeps the promise without it."""
    with BUGS[name]():
        found = next((seed for seed in range(SEEDS_MAX) if simulate(seed).problems), None)
    assert found is not None, f"no seed below {SEEDS_MAX} shows that this is broken: {RULES[name]}"
    assert simulate(found).problems == []


def test_every_bug_names_its_rule() -> None:
    """Whoever reads of a planted bug reads which rule it breaks."""
    assert all(RULES[name] for name in BUGS)
