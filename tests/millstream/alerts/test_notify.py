"""What one channel is told: each firing once, each end once, nothing that is silenced."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from millstream.alerts.alarm import Severity, Status
from millstream.alerts.notify import FORGET_US, NOTICE_ALARMS_MAX, Notice, Notifier
from millstream.alerts.silence import Matcher, Silence
from tests.millstream.alerts.alarms import NOON, SECOND, alarm

WAIT = 10 * SECOND


def silence(first_s: int, end_s: int, matcher: str = "rule=lag") -> Silence:
    start, end = NOON + first_s * SECOND, NOON + end_s * SECOND
    return Silence("s", (Matcher.parse(matcher),), start, end)


def told(notices: list[Notice]) -> list[list[tuple[str, int]]]:
    """(status, revision) of each notice's alarms."""
    return [[(a.status.value, a.revision) for a in notice.alarms] for notice in notices]


def send(notifier: Notifier, second: float, *silences: Silence) -> list[Notice]:
    """What is due at this second, delivered."""
    now = NOON + round(second * SECOND)
    notices = notifier.due(now, silences)
    for notice in notices:
        notifier.delivered(notice, now)
    return notices


def test_people_are_told_once_and_of_the_end_once() -> None:
    """After the group's wait; a revision that is read again changes nothing."""
    notifier = Notifier(WAIT)
    notifier.take(alarm(), NOON)
    assert send(notifier, 9) == []
    assert told(send(notifier, 10)) == [[("firing", 1)]]
    notifier.take(alarm(), NOON)
    assert send(notifier, 100) == []
    notifier.take(alarm(1, 2, Status.RESOLVED), NOON + 100 * SECOND)
    assert told(send(notifier, 110)) == [[("resolved", 2)]]
    notifier.take(alarm(), NOON)
    notifier.take(alarm(1, 2, Status.RESOLVED), NOON)
    assert send(notifier, 1000) == []
    assert notifier.open == []


def test_until_it_is_delivered_it_stays_due() -> None:
    """Told is what was sent, not what was tried."""
    notifier = Notifier(0)
    notifier.take(alarm(), NOON)
    first = notifier.due(NOON, ())
    assert notifier.due(NOON + 1, ()) == first
    notifier.delivered(first[0], NOON + 1)
    assert notifier.due(NOON + 2, ()) == []


def test_what_ends_before_anyone_was_told_is_never_told() -> None:
    """A flap within the group's wait wakes nobody."""
    notifier = Notifier(WAIT)
    notifier.take(alarm(), NOON)
    notifier.take(alarm(1, 2, Status.RESOLVED), NOON + SECOND)
    assert send(notifier, 100) == []


def test_alarms_of_one_rule_that_come_together_are_one_notice() -> None:
    """Of at most so many; another rule's is another, and the worst goes first."""
    notifier = Notifier(WAIT)
    for number in range(NOTICE_ALARMS_MAX + 1):
        notifier.take(alarm(number), NOON + number)
    notifier.take(alarm(rule="slo", severity=Severity.PAGE), NOON)
    notices = send(notifier, 10)
    assert [(n.alarms[0].rule, len(n.alarms)) for n in notices] == [
        ("slo", 1),
        ("lag", 50),
        ("lag", 1),
    ]
    assert len({notice.id for notice in notices}) == 3


def test_a_worse_severity_is_told_and_a_better_one_is_not() -> None:
    """As a new revision of the same alarm."""
    notifier = Notifier(0)
    notifier.take(alarm(), NOON)
    send(notifier, 0)
    notifier.take(alarm(1, 2, severity=Severity.PAGE), NOON)
    assert told(send(notifier, 1)) == [[("firing", 2)]]
    notifier.take(alarm(1, 3, severity=Severity.INFO), NOON)
    assert send(notifier, 2) == []


def test_a_silenced_alarm_is_told_when_the_silence_ends_if_it_still_fires() -> None:
    """One that ended meanwhile is never told."""
    notifier, quiet = Notifier(WAIT), silence(0, 60)
    notifier.take(alarm(1), NOON)
    notifier.take(alarm(2), NOON)
    assert send(notifier, 59, quiet) == []
    notifier.take(alarm(2, 2, Status.RESOLVED), NOON + 59 * SECOND)
    (notice,) = send(notifier, 60, quiet)
    assert [a.labels["program"] for a in notice.alarms] == ["p1"]


def test_an_end_within_a_silence_is_told_after_it_to_those_who_knew() -> None:
    """Else they would believe that it still fires."""
    notifier, quiet = Notifier(0), silence(10, 60)
    notifier.take(alarm(), NOON)
    assert len(send(notifier, 0, quiet)) == 1
    notifier.take(alarm(1, 2, Status.RESOLVED), NOON + 20 * SECOND)
    assert send(notifier, 20, quiet) == []
    assert told(send(notifier, 60, quiet)) == [[("resolved", 2)]]


def test_for_a_receiver_that_forgets_firing_alarms_are_sent_again() -> None:
    """Until they end, are silenced, or nobody has revised them for a week."""
    notifier = Notifier(0, repeat_us=60 * SECOND)
    notifier.take(alarm(), NOON)
    assert [n.again for n in send(notifier, 0)] == [False]
    assert send(notifier, 59) == []
    assert [n.again for n in send(notifier, 60)] == [True]
    assert send(notifier, 120, silence(100, 130)) == []
    assert [n.again for n in send(notifier, 130)] == [True]
    assert notifier.due(NOON + FORGET_US, ()) == []
    notifier.take(alarm(1, 2, Status.RESOLVED), NOON + 200 * SECOND)
    assert told(send(notifier, 200)) == [[("resolved", 2)]]
    assert send(notifier, 400) == []


def test_unfinished_records_hold_the_offset_and_silenced_ones_do_not() -> None:
    """The lowest of each partition."""
    notifier = Notifier(WAIT)
    notifier.take(alarm(1), NOON, (0, 7))
    notifier.take(alarm(2), NOON, (0, 5))
    notifier.take(alarm(3, rule="slo"), NOON, (2, 1))
    assert notifier.unfinished(NOON, ()) == {0: 5, 2: 1}
    assert notifier.unfinished(NOON, [silence(0, 10)]) == {2: 1}
    assert notifier.waiting(NOON, [silence(0, 10)]) == 1
    send(notifier, 10)
    assert notifier.unfinished(NOON, ()) == {}


def test_after_a_restart_nobody_is_told_again() -> None:
    """Of what fires and of what is over; a receiver that forgets has what fires at once."""
    for repeat in (None, 60 * SECOND):
        notifier = Notifier(0, repeat)
        for each in (alarm(1), alarm(2), alarm(2, 2, Status.RESOLVED)):
            notifier.remember(each, NOON + SECOND, ())
        notices = send(notifier, 10)
        assert [notice.again for notice in notices] == ([] if repeat is None else [True])
        notifier.take(alarm(1, 2, Status.RESOLVED), NOON + 20 * SECOND)
        assert told(send(notifier, 20)) == [[("resolved", 2)]]


def test_a_silence_that_ended_before_a_restart_is_told_exactly_where_it_was_not() -> None:
    """The channel's mark says until when it had told everything that was due."""
    quiet = silence(-5, 60)
    down = Notifier(0)
    down.remember(alarm(), NOON + 30 * SECOND, [quiet])
    assert told(send(down, 90, quiet)) == [[("firing", 1)]]
    awake = Notifier(0)
    awake.remember(alarm(), NOON + 61 * SECOND, [quiet])
    assert send(awake, 90, quiet) == []
    early = Notifier(0)
    early.remember(alarm(), NOON + 30 * SECOND, [silence(5, 60)])
    assert send(early, 90, silence(5, 60)) == []


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["next", "send", "again"])), max_size=80
)


@given(EVENTS)
def test_no_revision_is_ever_told_twice(events: list[tuple[int, str]]) -> None:
    """Whatever is read again, and firing comes before its end."""
    notifier, revisions = Notifier(0), dict.fromkeys(range(4), 0)
    heard: dict[str, list[tuple[int, Status]]] = {}
    for second, (number, what) in enumerate(events):
        if what == "next":
            revisions[number] = min(revisions[number] + 1, 2)
        if what != "send" and revisions[number]:
            status = Status.FIRING if revisions[number] == 1 else Status.RESOLVED
            notifier.take(alarm(number, revisions[number], status), NOON)
            continue
        for notice in send(notifier, second):
            for each in notice.alarms:
                heard.setdefault(each.id, []).append((each.revision, each.status))
    for said in heard.values():
        assert said in ([(1, Status.FIRING)], [(1, Status.FIRING), (2, Status.RESOLVED)])


def test_a_notice_is_as_bad_as_its_worst_and_its_id_is_its_revisions() -> None:
    """So that a receiver knows a repeat."""
    one, two = alarm(1), alarm(2, severity=Severity.PAGE)
    notice = Notice((one, two))
    assert (notice.severity, notice.status) == (Severity.PAGE, Status.FIRING)
    assert notice.id == Notice((one, two), again=True).id
    assert notice.id != Notice((one, replace(two, revision=2))).id
