"""Silences: from one time until another, people are not told of the alarms that match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from millstream.alerts.alarm import Alarm, microseconds
from millstream.errors import SettingsInvalid

_MATCHER = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)(=~|!~|!=|=)(.*)", re.DOTALL)
CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class Matcher:
    """NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX; a regex must match the whole value.

    A label that an alarm has not is the empty text. rule, severity, cause, stream, source and id
    are matched like labels.
    """

    name: str
    sign: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Raises SettingsInvalid where it is none of the four, overlong, or no regex.

        >>> Matcher.parse("rule=~lag|burn")
        Matcher(name='rule', sign='=~', value='lag|burn')
        """
        found = _MATCHER.fullmatch(text)
        if found is None or len(text) > CHARS_MAX:
            raise SettingsInvalid(
                f"{text[:CHARS_MAX]!r} is no matcher",
                "Write NAME=VALUE, NAME!=VALUE, NAME=~REGEX or NAME!~REGEX",
            )
        name, sign, value = found.groups()
        if sign.endswith("~"):
            try:
                re.compile(value)
            except re.error as why:
                raise SettingsInvalid(
                    f"matcher {text!r} has no regular expression: {why}", "Mend it"
                ) from None
        return cls(name, sign, value)

    def __str__(self) -> str:
        return f"{self.name}{self.sign}{self.value}"

    def matches(self, names: Mapping[str, str]) -> bool:
        """Whether these names and values are meant."""
        value = names.get(self.name, "")
        if self.sign.endswith("~"):
            same = re.fullmatch(self.value, value, re.DOTALL) is not None
        else:
            same = value == self.value
        return same != self.sign.startswith("!")


@dataclass(frozen=True, slots=True)
class Silence:
    """As schemas/silence.v1.avsc; times are microseconds since 1970, UTC."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_us: int
    ends_us: int
    author: str = ""
    comment: str = ""

    def fields(self) -> dict[str, Any]:
        """Its values by the contract's names."""
        return {
            "id": self.id,
            "matchers": [str(matcher) for matcher in self.matchers],
            "starts_at": self.starts_us,
            "ends_at": self.ends_us,
            "author": self.author,
            "comment": self.comment,
        }

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Silence:
        """From the contract's values. Raises SettingsInvalid for a matcher that is none."""
        return cls(
            id=fields["id"],
            matchers=tuple(Matcher.parse(text) for text in fields["matchers"]),
            starts_us=microseconds(fields["starts_at"]),
            ends_us=microseconds(fields["ends_at"]),
            author=fields["author"],
            comment=fields["comment"],
        )

    def in_force(self, now_us: int) -> bool:
        return self.starts_us <= now_us < self.ends_us

    def covers(self, alarm: Alarm) -> bool:
        """Whether every matcher matches; a silence without any covers nothing."""
        names = {
            **alarm.labels,
            "rule": alarm.rule,
            "severity": alarm.severity.value,
            "cause": alarm.cause,
            "stream": alarm.stream,
            "source": alarm.source,
            "id": alarm.id,
        }
        return bool(self.matchers) and all(each.matches(names) for each in self.matchers)


def silenced(alarm: Alarm, silences: Iterable[Silence], now_us: int) -> bool:
    """Whether any silence in force covers it."""
    return any(each.in_force(now_us) and each.covers(alarm) for each in silences)
