"""Damage as alarms: one for each place, resolved when it is gone."""

from __future__ import annotations

from dataclasses import replace

from millstream.alerts.alarm import Alarm
from millstream.audit.alarms import DamageAlarms
from millstream.audit.ledger import Finding, Kind


def lost(*offsets: int, partition: int = 1) -> Finding:
    """These events of a partition have no answer."""
    return Finding(Kind.LOST, "loans.events", partition, len(offsets), offsets, max(offsets))


STALLED = Finding(Kind.SINK_STALLED, "loans.events", 0, 3, (), None)


def revisions(alarms: list[Alarm]) -> list[tuple[str, int]]:
    """Status and revision of each."""
    return [(alarm.status.value, alarm.revision) for alarm in alarms]


def test_a_place_of_damage_is_one_alarm_that_grows_and_is_not_repeated() -> None:
    """The same finding says nothing again; more offsets are the next revision."""
    alarms = DamageAlarms("loans")
    (first,) = alarms.look([lost(5)], 1)
    assert alarms.look([lost(5)], 2) == []
    (second,) = alarms.look([lost(5, 7)], 3)
    assert (first.id, first.revision) == (second.id, second.revision - 1)
    assert [alarm.evidence["offsets"] for alarm in alarms.firing] == [[5, 7]]


def test_it_is_resolved_by_a_look_that_finds_it_no_longer() -> None:
    """One place at a time; and the same damage again is the next revision of the same alarm."""
    alarms = DamageAlarms("loans")
    one, two = alarms.look([lost(5), lost(8, partition=2)], 1)
    (over,) = alarms.look([lost(8, partition=2)], 2)
    assert (over.id, over.firing, over.revision) == (one.id, False, 2)
    assert alarms.firing == (two,)
    assert revisions(alarms.look([], 3)) == [("resolved", 2)]
    (again,) = alarms.look([lost(5)], 4)
    assert (again.id, again.firing, again.revision) == (one.id, True, 3)


def test_a_look_that_could_not_tell_everything_resolves_nothing() -> None:
    """What it did not see may still be so; what is uncertain is no alarm itself."""
    alarms = DamageAlarms("loans")
    alarms.look([lost(5)], 1)
    assert alarms.look([STALLED], 2) == []
    assert revisions(alarms.look([], 3)) == [("resolved", 2)]


def test_what_was_found_in_a_sample_stays() -> None:
    """The next look may take other rows, or score none again."""
    alarms = DamageAlarms("loans")
    differs = Finding(Kind.SCORE_DIFFERS, "loans.predictions", 0, 1, (7,), 7)
    (fires,) = alarms.look([differs], 1)
    assert alarms.look([], 2) == []
    assert alarms.firing == (fires,)


def test_another_watch_goes_on_from_the_topic() -> None:
    """After a restart nobody is told again of what fires, and it is still resolved; alarms of
    rules are left alone."""
    first = DamageAlarms("loans")
    written = first.look([lost(5)], 1)
    rule = replace(written[0], id="x", source="rule")
    second = DamageAlarms("loans")
    second.recover([*written, rule])
    assert second.look([lost(5)], 2) == []
    (over,) = second.look([], 3)
    assert (over.id, over.firing) == (written[0].id, False)
