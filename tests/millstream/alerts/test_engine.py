"""The state machine: when an alarm fires, when it is over, and that each is said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream.alerts.alarm import Alarm, Severity, Status
from millstream.alerts.engine import CLOSED_MAX, Engine
from millstream.alerts.incident import Incident
from millstream.alerts.judge import Reading
from millstream.alerts.rules import SERIES_MAX, AlertsTable, DetectorRule, LagRule
from tests.millstream.alerts.alarms import NOON, SECOND
from tests.millstream.alerts.test_incident import FIELDS

RULE = LagRule(kind="lag", name="slow", above_records=10, for_s=60, resolve_s=120, cool_down_s=600)
DRIFT = DetectorRule(kind="detector", name="drift", severity=Severity.PAGE, summary="Look")
TABLE = AlertsTable(rules=(RULE, DRIFT))


def reading(
    breached: bool, cleared: bool | None = None, severity: Severity = Severity.TICKET, **labels: str
) -> Reading:
    clear = not breached if cleared is None else cleared
    return Reading(labels, breached, clear, f"breached: {breached}", "lag", severity)


BAD, GOOD, BETWEEN = reading(True), reading(False), reading(False, False)


def engine() -> Engine:
    return Engine("loans", TABLE)


def play(made: Engine, *steps: tuple[float, Reading]) -> list[tuple[float, Status, int]]:
    """(second, status, revision) of each change."""
    found = []
    for second, what in steps:
        for alarm in made.observe(RULE, [what], NOON + round(second * SECOND)):
            found.append((second, alarm.status, alarm.revision))
    return found


def test_an_alarm_fires_when_it_was_so_for_long_enough() -> None:
    """And is said once, however often it is looked at."""
    steps = [(second, BAD) for second in range(0, 200, 10)]
    assert play(engine(), *steps) == [(60, Status.FIRING, 1)]


def test_a_hiccup_fires_nothing_and_starts_the_time_anew() -> None:
    """for_s counts without a break."""
    steps = [(0, BAD), (50, GOOD), (60, BAD), (110, BAD), (120, BAD)]
    assert play(engine(), *steps) == [(120, Status.FIRING, 1)]


def test_an_alarm_is_resolved_when_it_was_over_for_long_enough() -> None:
    """What lies between breached and cleared neither resolves it nor counts as over."""
    made = engine()
    steps = [(0, BAD), (60, BAD), (70, GOOD), (180, BETWEEN), (200, GOOD), (319, GOOD)]
    assert play(made, *steps) == [(60, Status.FIRING, 1)]
    assert play(made, (320, GOOD)) == [(320, Status.RESOLVED, 2)]
    assert made.firing == []


def test_within_the_cool_down_it_does_not_fire_again() -> None:
    """It fires at its end if it still is so; with an id of its own."""
    made = engine()
    play(made, (0, BAD), (60, BAD), (70, GOOD), (190, GOOD))
    steps = [(second, BAD) for second in range(200, 1000, 10)]
    assert play(made, *steps) == [(790, Status.FIRING, 1)]


def test_a_second_firing_is_another_alarm() -> None:
    """Ids depend on when it began, and on nothing random."""
    ids = []
    for _ in range(2):
        made = engine()
        for second, what in [(0, BAD), (60, BAD), (70, GOOD), (190, GOOD), (800, BAD), (860, BAD)]:
            ids += [a.id for a in made.observe(RULE, [what], NOON + second * SECOND)]
    assert ids[:3] == ids[3:]
    assert ids[0] == ids[1] != ids[2]


def test_a_worse_severity_is_a_new_revision_and_a_better_one_is_not() -> None:
    """People are told of what gets worse."""
    worse = reading(True, severity=Severity.PAGE)
    steps = [(0, BAD), (60, BAD), (70, worse), (80, worse), (90, BAD)]
    assert play(engine(), *steps) == [(60, Status.FIRING, 1), (70, Status.FIRING, 2)]


def test_subjects_of_one_rule_are_apart_and_one_that_is_no_longer_reported_is_over() -> None:
    """A model version that is gone cannot be late."""
    made = engine()
    both = [reading(True, version="1"), reading(True, version="2")]
    made.observe(RULE, both, NOON)
    fired = made.observe(RULE, both, NOON + 60 * SECOND)
    assert {alarm.labels["version"] for alarm in fired} == {"1", "2"}
    for second in (70, 130):
        assert made.observe(RULE, both[1:], NOON + second * SECOND) == []
    (over,) = made.observe(RULE, both[1:], NOON + 190 * SECOND)
    assert (over.labels["version"], over.status) == ("1", Status.RESOLVED)
    assert over.summary == "slow: no longer reported"


def test_a_rule_that_cannot_be_looked_at_is_said_after_five_minutes() -> None:
    """What fired before still fires; it is over when the rule is looked at again."""
    made = engine()
    play(made, (0, BAD), (60, BAD))
    said = [
        (second, alarm.cause)
        for second in range(70, 500, 10)
        for alarm in made.failed(RULE, "no answer", NOON + second * SECOND)
    ]
    assert said == [(370, "not_evaluated")]
    assert len(made.firing) == 2
    assert play(made, (500, BAD), (619, BAD)) == []
    assert play(made, (620, BAD)) == [(620, Status.RESOLVED, 2)]
    assert [alarm.cause for alarm in made.firing] == ["lag"]


def test_a_clock_that_is_set_back_changes_nothing() -> None:
    """Time stands still until it has caught up."""
    steps = [(100, BAD), (40, BAD), (0, GOOD), (0, BAD), (159, BAD), (160, BAD)]
    assert play(engine(), *steps) == [(160, Status.FIRING, 1)]


def test_a_rule_follows_a_bounded_number_of_subjects() -> None:
    """The others are counted, so that it can be said."""
    made = engine()
    subjects = [reading(True, n=str(n)) for n in range(SERIES_MAX + 5)]
    made.observe(RULE, subjects, NOON)
    assert made.dropped == 5
    assert len(made.observe(RULE, subjects, NOON + 60 * SECOND)) == SERIES_MAX


def incident(**more: Any) -> Incident:
    return Incident.of(FIELDS | more)


def test_an_incident_is_one_alarm_from_its_opening_to_its_end() -> None:
    """An update is told only where its verdict changed."""
    made = engine()
    (opened,) = made.incident(incident(), NOON)
    assert (opened.rule, opened.severity, opened.source) == ("drift", Severity.PAGE, "incident/i-1")
    assert opened.summary.startswith("Look: concept change: the loss rose")
    assert made.incident(incident(status="updated", revision=2), NOON + 1) == []
    (changed,) = made.incident(incident(status="updated", verdict="broken_pipe"), NOON + 2)
    assert (changed.id, changed.revision, changed.cause) == (opened.id, 2, "broken_pipe")
    (over,) = made.incident(incident(status="resolved"), NOON + 3)
    assert (over.id, over.revision, over.status) == (opened.id, 3, Status.RESOLVED)
    assert made.firing == []


def test_an_incident_that_is_read_again_changes_nothing() -> None:
    """Neither while it is open nor when it is over: reading is at least once."""
    made = engine()
    made.incident(incident(), NOON)
    assert made.incident(incident(), NOON + 1) == []
    made.incident(incident(status="resolved"), NOON + 2)
    assert made.incident(incident(), NOON + 3) == []
    assert made.incident(incident(status="resolved"), NOON + 4) == []


def test_a_harmless_incident_alarms_nobody_until_it_is_harmful() -> None:
    """And one that turns out harmless is over."""
    made = engine()
    assert made.incident(incident(verdict="harmless_shift"), NOON) == []
    (alarm,) = made.incident(incident(verdict="harmful_shift", status="updated"), NOON + 1)
    assert alarm.firing
    (over,) = made.incident(incident(verdict="harmless_shift", status="updated"), NOON + 2)
    assert not over.firing


def test_what_fires_is_recovered_from_its_records() -> None:
    """The next looks say what an unbroken engine says; other writers' alarms are left alone."""
    whole, broken = engine(), engine()
    written: list[Alarm] = []
    for second in (0, 60):
        written += whole.observe(RULE, [BAD], NOON + second * SECOND)
    written += whole.incident(incident(), NOON + 61 * SECOND)
    (foreign,) = engine().incident(incident(id="x"), NOON)
    broken.recover([*written, Alarm.of(foreign.fields() | {"source": "verify"})])
    assert broken.firing == whole.firing
    for second in (70, 190, 200, 260, 800, 810, 860, 870):
        what = GOOD if second < 200 else BAD
        now = NOON + second * SECOND
        assert broken.observe(RULE, [what], now) == whole.observe(RULE, [what], now)
        assert broken.incident(incident(), now) == whole.incident(incident(), now) == []


def test_an_incident_that_is_over_stays_over_after_a_recovery() -> None:
    """Its records may be read again."""
    first = engine()
    written = first.incident(incident(), NOON) + first.incident(incident(status="resolved"), NOON)
    again = engine()
    again.recover(written)
    assert again.incident(incident(), NOON) == []


def test_a_bounded_number_of_incidents_is_remembered_as_over() -> None:
    """Those that ended last."""
    made = engine()
    (over,) = made.incident(incident(), NOON) and made.incident(incident(status="resolved"), NOON)
    made.recover(replace(over, source=f"incident/n-{number}") for number in range(CLOSED_MAX))
    assert made.incident(incident(id=f"n-{CLOSED_MAX - 1}"), NOON) == []
    assert made.incident(incident(id="n-0"), NOON) == []
    (anew,) = made.incident(incident(), NOON)
    assert anew.firing


def test_what_fires_by_a_rule_that_is_gone_is_resolved() -> None:
    """Also an incident's, where no rule tells of incidents any more."""
    first = engine()
    written = first.observe(RULE, [BAD], NOON) + first.observe(RULE, [BAD], NOON + 60 * SECOND)
    written += first.incident(incident(), NOON)
    bare = Engine("loans", AlertsTable())
    bare.recover(written)
    over = bare.retire(NOON + 61 * SECOND)
    assert sorted((a.rule, a.status) for a in over) == [
        ("drift", Status.RESOLVED),
        ("slow", Status.RESOLVED),
    ]
    assert bare.firing == []


LOOKS = st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from([BAD, GOOD, BETWEEN])), min_size=1, max_size=60
)


@given(LOOKS)
def test_firing_and_resolved_alternate(looks: Sequence[tuple[int, Reading]]) -> None:
    """Whatever is looked at, each alarm is said once and its end once: revisions 1 and 2."""
    made, now = engine(), NOON
    said: list[Alarm] = []
    for seconds, what in looks:
        now += seconds * SECOND
        said += made.observe(RULE, [what], now)
    wanted = [Status.FIRING, Status.RESOLVED]
    assert [alarm.status for alarm in said] == [wanted[n % 2] for n in range(len(said))]
    assert [alarm.revision for alarm in said] == [1 + n % 2 for n in range(len(said))]
    assert len({alarm.id for alarm in said}) == (len(said) + 1) // 2
