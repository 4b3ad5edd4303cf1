"""The e-detector: what it promises, and what it finds."""

from __future__ import annotations

import json
from math import lgamma

import numpy as np
import pytest

from millstream.drift import evidence
from millstream.drift.evidence import STARTS_MAX, Evidence, log_gamma
from tests.millstream.drift.errors import Bits, bursty, independent, shifted


def first_alarm(errors: Bits, run_events: float, batch: int = 8) -> int | None:
    """Events until the first alarm."""
    evidence = Evidence()
    for start in range(0, len(errors), batch):
        part = errors[start : start + batch]
        wrong = float(part.sum())
        if evidence.update((wrong, len(part) - wrong), 1 / run_events) >= 1.0:
            return start + len(part)
    return None


def test_log_gamma_is_that_of_the_standard_library() -> None:
    """From halves to millions."""
    values = np.array([0.5, 1.0, 1.5, 3.0, 7.25, 100.5, 1e4, 5e6])
    assert log_gamma(values) == pytest.approx([lgamma(v) for v in values], rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_false_alarms_are_further_apart_than_asked_for(rate: float) -> None:
    """The mean run of independent errors, cut at four times what was asked, is at least that."""
    asked = 500
    runs = [first_alarm(independent(rate, 4 * asked, s), asked) or 4 * asked for s in range(40)]
    assert np.mean(runs) >= asked


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.4), (0.6, 0.2), (0.02, 0.25), (0.3, 0.9)])
def test_a_change_is_found_in_either_direction(before: float, after: float) -> None:
    """Within 160 events, and not before it."""
    for seed in range(5):
        found = first_alarm(shifted(before, after, 2_000, 3_000, seed), 50_000)
        assert found is not None
        assert 2_000 < found <= 2_160


@pytest.mark.parametrize("batch", [1, 50, 400])
def test_counts_find_what_single_events_find(batch: int) -> None:
    """Give or take a batch."""
    errors = shifted(0.1, 0.5, 6_000, 8_000, 3)
    single, counted = first_alarm(errors, 50_000, 8), first_alarm(errors, 50_000, batch)
    assert single is not None
    assert counted is not None
    assert abs(counted - single) <= batch + 8


def test_it_says_what_changed_and_when() -> None:
    """The shares before and after, and the time of the first batch behind the change."""
    errors, evidence = shifted(0.1, 0.5, 2_000, 2_200, 1), Evidence()
    for start in range(0, len(errors), 8):
        wrong = float(errors[start : start + 8].sum())
        if evidence.update((wrong, 8 - wrong), 1 / 50_000, start) >= 1.0:
            break
    change = evidence.change()
    assert change.before[0] == pytest.approx(0.1, abs=0.03)
    assert change.after[0] == pytest.approx(0.5, abs=0.2)
    assert change.at_us == pytest.approx(2_000, abs=48)
    assert change.since_events == start + 8 - change.at_us


def test_large_batches_may_hide_bursts() -> None:
    """The first dozen batches of 1,000 bursty events raise an alarm in few of 20 streams."""
    raised = 0
    for seed in range(20):
        raised += first_alarm(bursty(12_000, seed), 50_000, 1_000) is not None
    assert raised <= 4


def test_several_categories_are_one_decision() -> None:
    """Shares of four bins that change places are found; those that stay are not."""
    random = np.random.default_rng(2)
    before, after = [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]
    evidence = Evidence(4)
    for number in range(300):
        shares = before if number < 200 else after
        counts = random.multinomial(20, shares).astype(float)
        if evidence.update(tuple(counts), 1 / 50_000) >= 1.0:
            break
    assert 200 < number < 215


def test_memory_is_bounded() -> None:
    """However many blocks there were, no more starts are kept than there is room for."""
    evidence = Evidence(block_events=1, memory_events=2_000)
    for number in range(6_000):
        evidence.update((float(number % 10 == 0), float(number % 10 != 0)), 1e-9)
    table = evidence.state()["table"]
    assert len(table[0]) <= STARTS_MAX
    assert sum(table[2]) < 6_000


def test_large_shares_of_the_budget_raise_no_alarm_by_themselves() -> None:
    """A start weighs little even where one block uses up the budget."""
    assert first_alarm(independent(0.2, 200, 1), 2.0, 50) is None


def test_it_goes_on_from_its_state_to_the_bit() -> None:
    """Through JSON, at random offsets, alarms and restarts included."""
    errors = shifted(0.1, 0.4, 700, 1_400, 8)
    random = np.random.default_rng(4)

    def step(evidence: Evidence, at: int) -> float:
        wrong = float(errors[at : at + 3].sum())
        level = evidence.update((wrong, 3.0 - wrong), 1 / 5_000, at)
        if level >= 1.0:
            evidence.restart()
        return level

    whole = Evidence()
    levels = [step(whole, at) for at in range(0, 1_398, 3)]
    assert max(levels) >= 1.0
    for stop in sorted(random.integers(1, len(levels), size=6).tolist()):
        first = Evidence()
        for at in range(stop):
            step(first, 3 * at)
        second = Evidence()
        second.restore(json.loads(json.dumps(first.state())))
        assert [step(second, 3 * at) for at in range(stop, len(levels))] == levels[stop:]
        assert second.state() == whole.state()


@pytest.mark.parametrize("categories", [2, 10])
def test_the_kernel_and_numpy_judge_the_same(
    categories: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level to 1e-9 and the same start, while nothing changes and while much does."""
    random = np.random.default_rng(categories)
    batches = [
        random.multinomial(32, _shares(categories, block > 250)).astype(float).tolist()
        for block in range(400)
    ]
    found = []
    for engine in (True, False):
        monkeypatch.setattr(evidence, "kernels_load", lambda engine=engine: engine)
        made, said = Evidence(categories), []
        for counts in batches:
            level = made.update(counts, 1e-5)
            said.append((level, made.change().since_events if level >= 1.0 else 0.0))
            if level >= 1.0:
                made.restart()
        found.append(said)
    levels = [[level for level, _ in said] for said in found]
    assert levels[0] == pytest.approx(levels[1], rel=1e-9, abs=1e-300)
    assert max(levels[1]) > 1.0
    assert [since for _, since in found[0]] == [since for _, since in found[1]]


def _shares(categories: int, is_changed: bool) -> list[float]:
    first = 0.4 if is_changed else 0.1
    return [first, *[(1 - first) / (categories - 1)] * (categories - 1)]
