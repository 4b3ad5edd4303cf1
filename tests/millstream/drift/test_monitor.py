"""The monitor: versions, labels that come late, one decision from several signals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from millstream.drift.monitor import VERSIONS_MAX, Alarm, Monitor, MonitorSettings
from millstream.drift.signals import (
    Counts,
    Signal,
    count_labelled,
    count_predictions,
    score_edges,
)
from tests.millstream.drift.errors import Bits, independent, shifted

ERRORS_ONLY = MonitorSettings(score_bins=0, confidence=False)
SECOND = 1_000_000
BATCH = 20
Pair = tuple[float, float]


def feed(
    monitor: Monitor, version: str, errors: Bits, start: int = 0, batch: int = BATCH
) -> list[Alarm]:
    """Labelled predictions of one version at ten a second; the alarms."""
    found = []
    for at in range(0, len(errors), batch):
        part = errors[at : at + batch]
        alarm = monitor.take(version, count_labelled(part), (start + at) * SECOND // 10)
        if alarm is not None:
            found.append(alarm)
    return found


def test_an_alarm_names_version_cause_and_time() -> None:
    """And the error before and after."""
    monitor = Monitor(ERRORS_ONLY)
    (alarm,) = feed(monitor, "v1", shifted(0.1, 0.5, 5_000, 6_000, 1))
    assert (alarm.number, alarm.version, alarm.live) == (1, "v1", True)
    assert alarm.cause is Signal.ERROR
    assert alarm.level >= 1.0
    assert alarm.since_us == pytest.approx(5_000 * SECOND // 10, abs=10 * SECOND)
    assert alarm.before[0] == pytest.approx(0.1, abs=0.02)
    assert alarm.after[0] == pytest.approx(0.5, abs=0.2)
    assert json.loads(json.dumps(alarm.as_json()))["cause"] == "error"
    assert monitor.level("v1") < 1.0
    assert monitor.level("unknown") == 0.0


def predictions(confidence: Pair, scores: Pair, events: int, random: np.random.Generator) -> Counts:
    """Confidences and scores drawn from two Beta distributions."""
    return count_predictions(
        random.beta(confidence[0], confidence[1], events),
        random.beta(scores[0], scores[1], events),
        score_edges(),
    )


@pytest.mark.parametrize("after", [(20, 1), (3, 2)])
def test_confidence_is_two_sided(after: tuple[float, float]) -> None:
    """Growing more confident is drift as growing less is."""
    random, monitor = np.random.default_rng(1), Monitor()
    found: list[Alarm] = []
    for number in range(300):
        drawn = (8, 2) if number < 200 else after
        counts = predictions(drawn, (2, 2), 50, random)
        alarm = monitor.take("v1", counts, number * SECOND)
        found += [alarm] if alarm else []
    assert [alarm.cause for alarm in found][:1] == [Signal.CONFIDENCE]
    assert 200 * SECOND <= found[0].at_us < 230 * SECOND


def test_scores_that_move_are_an_alarm_of_their_own() -> None:
    """Though the confidence stays."""
    random, monitor = np.random.default_rng(1), Monitor()
    found: list[Alarm] = []
    for number in range(300):
        drawn = (2, 2) if number < 200 else (1, 3)
        alarm = monitor.take("v1", predictions((8, 2), drawn, 50, random), number * SECOND)
        found += [alarm] if alarm else []
    assert [alarm.cause for alarm in found][:1] == [Signal.SCORES]
    assert len(found[0].before) == 10


def test_signals_together_raise_no_more_alarms_than_one() -> None:
    """Errors, confidence and scores that stay as they are: silence over 60,000 events."""
    random, monitor = np.random.default_rng(3), Monitor()
    for number in range(600):
        counts = predictions((8, 2), (2, 2), 100, random)
        counts.add(count_labelled(random.random(100) < 0.2))
        assert monitor.take("v1", counts, number * SECOND) is None


@pytest.mark.parametrize("late", [0, 500, 2_000])
def test_late_labels_are_judged_against_the_version_that_predicted(late: int) -> None:
    """A release in the middle of a drift: one alarm of the old version, none of the new.

    Version 1 errs on 50 % from event 6,000 on; version 2 answers from event 7,000 on and errs on
    10 %. Labels come `late` events after their prediction, so those of version 1 still come when
    version 2 answers already.
    """
    monitor = Monitor(ERRORS_ONLY)
    errors = np.concatenate(
        [independent(0.1, 6_000, 1), independent(0.5, 1_000, 2), independent(0.1, 8_000, 3)]
    )
    found = []
    monitor.released("v1")
    for now in range(0, len(errors) + late, BATCH):
        if now == 7_000:
            monitor.released("v2")
        part = errors[max(now - late, 0) : max(now + BATCH - late, 0)]
        if len(part):
            version = "v1" if now - late < 7_000 else "v2"
            alarm = monitor.take(version, count_labelled(part), now * SECOND // 10)
            found += [alarm] if alarm else []
    assert [alarm.version for alarm in found] == ["v1"]
    assert found[0].live == (late < 1_000)


def test_a_new_version_begins_a_reference_of_its_own() -> None:
    """It errs three times as often as the old one from its first event: that is no change."""
    monitor = Monitor(ERRORS_ONLY)
    assert feed(monitor, "v1", independent(0.1, 4_000, 1)) == []
    monitor.released("v2")
    assert feed(monitor, "v2", independent(0.3, 4_000, 2), 4_000) == []


def test_versions_share_the_budget() -> None:
    """Run lengths follow the rate of all events, whoever predicted."""
    one, two = Monitor(ERRORS_ONLY), Monitor(ERRORS_ONLY)
    feed(one, "v1", independent(0.1, 6_000, 1))
    for at in range(0, 6_000, BATCH):
        version = "v1" if at // BATCH % 2 else "v2"
        two.take(version, Counts(labelled=BATCH, errors=2), at * SECOND // 10)
    assert two.run_events() == one.run_events()
    assert one.run_events()["labelled"] == pytest.approx(10 * 604_800, rel=0.01)


def test_versions_are_bounded() -> None:
    """The one that was silent longest is forgotten."""
    monitor = Monitor(ERRORS_ONLY)
    for number in range(VERSIONS_MAX + 1):
        feed(monitor, f"v{number}", independent(0.1, 400, number))
    versions = monitor.state()["versions"]
    assert len(versions) == VERSIONS_MAX
    assert "v0" not in versions


def test_a_restart_at_any_offset_changes_nothing() -> None:
    """State through JSON at random batches: alarms and bits of an unbroken run."""
    random = np.random.default_rng(11)
    errors = {name: shifted(0.1, 0.4, 1_500, 3_000, seed) for name, seed in (("a", 1), ("b", 2))}
    batches = []
    for number in range(150):
        version = "ab"[number % 2]
        part = errors[version][number // 2 * 40 : number // 2 * 40 + 40]
        drawn = (8, 2) if number < 100 else (4, 3)
        counts = predictions(drawn, (2, 2), 30, random)
        counts.add(count_labelled(part))
        batches.append((version, counts, number * 30 * SECOND))
    whole = Monitor()
    whole.released("a")
    unbroken = [whole.take(*batch) for batch in batches]
    assert any(unbroken)
    for stops in (random.integers(1, 150, size=3) for _ in range(3)):
        monitor = Monitor()
        monitor.released("a")
        told = []
        for number, batch in enumerate(batches):
            if number in stops:
                monitor = Monitor.from_state(json.loads(json.dumps(monitor.state())))
            told.append(monitor.take(*batch))
        assert told == unbroken
        assert monitor.state() == whole.state()


def test_an_unknown_state_is_refused() -> None:
    """By its format."""
    with pytest.raises(ValueError, match="format 2"):
        Monitor.from_state({**Monitor().state(), "format": 2})
