"""What each kind of receiver gets to read."""

from __future__ import annotations

import doctest
import json

from millstream.alerts import render as module
from millstream.alerts.alarm import Severity, Status
from millstream.alerts.notify import Notice
from millstream.alerts.render import (
    TEXT_CHARS_MAX,
    alertmanager_json,
    headline,
    mail,
    slack_json,
    webhook_json,
)
from tests.millstream.alerts.alarms import NOON, SECOND, alarm

ENDED = alarm(2, 2, Status.RESOLVED, updated_us=NOON + 90 * SECOND)
BOTH = Notice((alarm(1), ENDED))


def test_the_examples_in_the_docstrings_hold() -> None:
    """To the letter."""
    assert doctest.testmod(module).failed == 0


def test_a_program_gets_every_field() -> None:
    """Times as RFC 3339, maps as objects, and an id by which it knows a repeat."""
    body = json.loads(webhook_json(BOTH))
    assert (body["version"], body["id"], body["status"]) == (1, BOTH.id, "firing")
    first, second = body["alarms"]
    assert first["labels"] == {"program": "p1"}
    assert first["evidence"] == {"records": 7}
    assert (second["status"], second["updated_at"]) == ("resolved", "2024-02-01T12:01:30.000Z")
    assert set(first) == set(alarm().fields())


def test_evidence_that_is_too_long_is_cut_and_says_so() -> None:
    """A receiver's limit must not cost the alarm."""
    long = alarm(evidence={"offsets": list(range(50_000))})
    body = webhook_json(Notice((long,)))
    assert len(body) < 10_000
    assert list(json.loads(body)["alarms"][0]["evidence"]) == ["cut"]


def test_slack_gets_text_whose_values_are_no_mentions() -> None:
    """Nor links: < and > and & are escaped everywhere."""
    nasty = alarm(1, summary="<!channel> & <http://x|y>", labels={"program": "<@U1>"})
    text = slack_json(Notice((nasty,))).decode()
    body = json.loads(text)
    assert body["text"] == "[ticket] loans lag: &lt;!channel&gt; &amp; &lt;http://x|y&gt;"
    assert "<" not in text
    assert [a["color"] for a in json.loads(slack_json(BOTH))["attachments"]] == [
        "#c77700",
        "#2e7d32",
    ]


def test_alertmanager_gets_an_end_for_both() -> None:
    """For what is resolved its own; for what fires four repeats away, so that it ends if we do."""
    firing, ended = json.loads(alertmanager_json(BOTH, NOON + 60 * SECOND, 30 * SECOND))
    assert firing["labels"] == {
        "alertname": "lag",
        "program": "p1",
        "stream": "loans",
        "severity": "ticket",
        "cause": "lag",
    }
    assert (firing["startsAt"], firing["endsAt"]) == (
        "2024-02-01T12:00:00.000Z",
        "2024-02-01T12:03:00.000Z",
    )
    assert ended["endsAt"] == "2024-02-01T12:01:30.000Z"


def test_alertmanager_gets_names_that_it_takes_and_no_empty_value() -> None:
    """It refuses the others; a label of the user's never hides one of ours."""
    odd = alarm(1, labels={"first-offset": "7", "2nd": "x", "none": "", "severity": "mine"})
    (alert,) = json.loads(alertmanager_json(Notice((odd,)), NOON, SECOND))
    assert alert["labels"]["first_offset"] == "7"
    assert alert["labels"]["_2nd"] == "x"
    assert "none" not in alert["labels"]
    assert alert["labels"]["severity"] == "ticket"


def test_a_mail_has_one_line_for_its_subject_whatever_the_alarm_says() -> None:
    """No header can be added by a summary."""
    nasty = alarm(1, summary="a\r\nBcc: x@example.org\n\x00b", labels={"p": "x\r\ny"})
    made = mail(Notice((nasty,)))
    assert made.subject == "[ticket] loans lag: a Bcc: x@example.org b"
    assert "\r" not in made.body
    assert '"records": 7' in made.body
    assert f"id       {nasty.id}" in made.body


def test_a_repeated_mail_has_the_same_name_and_an_end_answers_its_beginning() -> None:
    """So that a mail program shows them together."""
    first, last = mail(Notice((alarm(),))), mail(Notice((alarm(1, 2, Status.RESOLVED),)))
    assert first.name == mail(Notice((alarm(),), again=True)).name != last.name
    assert first.thread == last.thread


def test_a_headline_says_how_bad_what_and_how_many() -> None:
    """In one bounded line."""
    page = alarm(3, severity=Severity.PAGE)
    assert headline(Notice((alarm(),))) == "[ticket] loans lag: lag 1 is firing"
    assert headline(Notice((page, alarm(), ENDED))) == "[page] loans lag: 2 firing, 1 resolved"
    assert headline(Notice((ENDED,))).startswith("[resolved] loans lag:")
    assert len(headline(Notice((alarm(summary="x" * 9_000),)))) == TEXT_CHARS_MAX
