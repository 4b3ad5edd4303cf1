"""A notice as each kind of receiver wants it. Pure: text and JSON's types only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from millstream.alerts.alarm import Alarm, iso, json_text
from millstream.alerts.notify import Notice

FORMAT_VERSION: Final = 1
TEXT_CHARS_MAX: Final = 2_000
"""Of one value that a person reads; Slack cuts at 3,000."""
EVIDENCE_CHARS_MAX: Final = 8_000
"""Of one alarm's evidence; the whole is in the topic."""
KEPT_REPEATS: Final = 4
"""Alertmanager is told that a firing alarm ends after so many repeats, as Prometheus does: one that
nobody repeats is over."""
_COLOURS = {"page": "#b00020", "ticket": "#c77700", "info": "#3367d6"}
_RESOLVED_COLOUR = "#2e7d32"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: subject of one line, body, and names that a receiver knows it again by.

    name: its Message-ID's left part. thread: that of the alarm's first mail, for answers to it.
    """

    subject: str
    body: str
    name: str
    thread: str


def webhook_json(notice: Notice) -> bytes:
    """A JSON object for programs; `id` repeats if and only if the notice does."""
    body = {
        "version": FORMAT_VERSION,
        "id": notice.id,
        "status": notice.status.value,
        "severity": notice.severity.value,
        "stream": notice.alarms[0].stream,
        "rule": notice.alarms[0].rule,
        "alarms": [_alarm(alarm) for alarm in notice.alarms],
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def slack_json(notice: Notice) -> bytes:
    """The body of a Slack-compatible incoming webhook."""
    body = {
        "text": _slack(headline(notice)),
        "attachments": [
            {
                "color": _COLOURS[a.severity.value] if a.firing else _RESOLVED_COLOUR,
                "fallback": _slack(_line(a)),
                "text": _slack(a.summary[:TEXT_CHARS_MAX]),
                "ts": a.updated_us // 1_000_000,
                "fields": [
                    {"title": name, "value": _slack(value), "short": True}
                    for name, value in _shown_labels(a)
                ],
            }
            for a in notice.alarms
        ],
    }
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def alertmanager_json(notice: Notice, now_us: int, repeat_us: int) -> bytes:
    """The body of POST /api/v2/alerts; an alert is known by its labels, so these never change while
    it fires: severity is that of the rule, and a page that was a ticket is another alert."""
    return json.dumps([_alert(a, now_us, repeat_us) for a in notice.alarms]).encode()


def mail(notice: Notice) -> Mail:
    """Text for people, worst first."""
    lines = [headline(notice), ""]
    for alarm in notice.alarms:
        lines += [_line(alarm), f"  since    {iso(alarm.started_us)}"]
        if not alarm.firing:
            lines.append(f"  until    {iso(alarm.updated_us)}")
        lines += [f"  {name:<8} {one_line(value)}" for name, value in _shown_labels(alarm)]
        lines += [f"  id       {alarm.id}", "  evidence", *_evidence_lines(alarm), ""]
    lines.append("Silence it: millstream alerts silence STREAM.TOML id=ID --for 2h")
    return Mail(
        subject=one_line(headline(notice))[:200],
        body="\n".join(lines) + "\n",
        name=notice.id,
        thread=notice.alarms[0].id,
    )


def headline(notice: Notice) -> str:
    """One line: how bad, what, how many."""
    first = notice.alarms[0]
    firing = sum(alarm.firing for alarm in notice.alarms)
    ended = len(notice.alarms) - firing
    counts = [f"{n} {word}" for n, word in ((firing, "firing"), (ended, "resolved")) if n]
    what = first.summary if len(notice.alarms) == 1 else ", ".join(counts)
    state = notice.severity.value if firing else "resolved"
    return one_line(f"[{state}] {first.stream} {first.rule}: {what}")[:TEXT_CHARS_MAX]


def _alarm(alarm: Alarm) -> dict[str, Any]:
    fields = alarm.fields()
    fields["labels"] = dict(alarm.labels)
    evidence = json_text(alarm.evidence)
    whole = len(evidence) <= EVIDENCE_CHARS_MAX
    fields["evidence"] = json.loads(evidence) if whole else {"cut": evidence[:EVIDENCE_CHARS_MAX]}
    fields["started_at"] = iso(alarm.started_us)
    fields["updated_at"] = iso(alarm.updated_us)
    return fields


def _alert(alarm: Alarm, now_us: int, repeat_us: int) -> dict[str, Any]:
    own = {label_name(name): value for name, value in alarm.labels.items() if value}
    labels = own | {
        "alertname": alarm.rule,
        "stream": alarm.stream,
        "severity": alarm.severity.value,
        "cause": alarm.cause,
    }
    ends_us = now_us + KEPT_REPEATS * repeat_us if alarm.firing else alarm.updated_us
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {
            "summary": alarm.summary[:TEXT_CHARS_MAX],
            "evidence": json_text(alarm.evidence)[:TEXT_CHARS_MAX],
            "alarm_id": alarm.id,
        },
        "startsAt": iso(alarm.started_us),
        "endsAt": iso(ends_us),
    }


def label_name(name: str) -> str:
    """A name that Prometheus takes.

    >>> label_name("first-offset"), label_name("9x")
    ('first_offset', '_9x')
    """
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return f"_{clean}" if not clean or clean[0].isdigit() else clean


def _line(alarm: Alarm) -> str:
    state = alarm.severity.value if alarm.firing else "resolved"
    return f"[{state}] {one_line(alarm.summary)[:TEXT_CHARS_MAX]}"


def _shown_labels(alarm: Alarm) -> list[tuple[str, str]]:
    return [("cause", alarm.cause), *((n, v[:TEXT_CHARS_MAX]) for n, v in alarm.labels.items())]


def _evidence_lines(alarm: Alarm) -> list[str]:
    text = json.dumps(json.loads(json_text(alarm.evidence)), indent=2, ensure_ascii=False)
    return [f"    {line}" for line in text[: 4 * TEXT_CHARS_MAX].splitlines()]


def one_line(text: str) -> str:
    """The text without line breaks, and without what could steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _slack(text: str) -> str:
    """Slack's own escapes, so that no value becomes a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
