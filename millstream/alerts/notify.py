"""What one channel is told of: each firing once, each end once, and nothing that is silenced.

An alarm that ends before anyone was told of it is never told. Of a silenced one people are told
when the silence ends, if it still fires then. Several of one rule that come together are one
notice. Pure: time is an argument, in microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from millstream.alerts.alarm import ID_CHARS, Alarm, Severity, Status
from millstream.alerts.silence import Silence, silenced

NOTICE_ALARMS_MAX: Final = 50
FORGET_US: Final = 7 * 86_400 * 1_000_000
"""A firing alarm that nobody has revised for so long is not sent again and again any more."""
RECENT_MAX: Final = 20_000
"""Ended alarms that are remembered, so that one that is read again is not told again."""
Place: TypeAlias = tuple[int, int]
"""Partition and offset in NAME.alarms."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What is sent at once: alarms of one stream and rule. again: they were told before."""

    alarms: tuple[Alarm, ...]
    again: bool = False

    @property
    def status(self) -> Status:
        """Firing if any of them is."""
        firing = any(alarm.firing for alarm in self.alarms)
        return Status.FIRING if firing else Status.RESOLVED

    @property
    def severity(self) -> Severity:
        """The worst of them."""
        return max((alarm.severity for alarm in self.alarms), key=lambda s: s.rank)

    @property
    def id(self) -> str:
        """The same for the same revisions, so that a receiver knows a repeat."""
        text = "\n".join(f"{alarm.id} {alarm.revision}" for alarm in self.alarms)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARS]


@dataclass(slots=True)
class _Track:
    """One alarm that is not over and told. told: the revision that people know, None for none."""

    alarm: Alarm
    arrived_us: int
    place: Place | None = None
    told: Alarm | None = None
    sent_us: int | None = None

    @property
    def waits(self) -> bool:
        """Whether people should be told something new of it."""
        if self.told is None:
            return self.alarm.firing
        if not self.alarm.firing:
            return self.told.firing
        return self.alarm.severity.rank > self.told.severity.rank


class Notifier:
    """group_wait_us: how long alarms of one rule are gathered. repeat_us: firing ones are sent
    again after so long, for receivers that forget; None: they are told once.
    """

    def __init__(self, group_wait_us: int, repeat_us: int | None = None) -> None:
        self._group_wait_us = group_wait_us
        self._repeat_us = repeat_us
        self._tracks: dict[str, _Track] = {}
        self._over: dict[str, int] = {}  # alarm id -> its last revision, oldest first

    def take(self, alarm: Alarm, now_us: int, place: Place | None = None) -> None:
        """A revision was written to the topic; an older or equal one changes nothing."""
        if self._over.get(alarm.id, 0) >= alarm.revision:
            return
        track = self._tracks.get(alarm.id)
        if track is None:
            if not alarm.firing:
                self._forget(alarm)
                return
            self._tracks[alarm.id] = _Track(alarm, now_us, place)
            return
        if alarm.revision <= track.alarm.revision:
            return
        waited = track.waits
        track.alarm = alarm
        if not track.waits:  # nothing to tell: it ended before anyone was told, or is no worse
            if not alarm.firing:
                self._forget(alarm)
        elif not waited:
            track.arrived_us, track.place = now_us, place

    def remember(self, alarm: Alarm, told_us: int, silences: Sequence[Silence]) -> None:
        """A revision that this channel was done with before it was started again.

        told_us: until when it had told everything that was due. An alarm counts as told unless it
        was silenced when it was written and still then.
        """
        self.take(alarm, alarm.updated_us)
        track = self._tracks.get(alarm.id)
        if track is None or not track.waits:
            return
        at_first = silenced(alarm, silences, alarm.updated_us)
        if at_first and silenced(alarm, silences, max(told_us, alarm.updated_us)):
            return
        self._told(track, alarm)

    def due(self, now_us: int, silences: Sequence[Silence]) -> list[Notice]:
        """What to send now, the worst first. Told is only what `delivered` is called for."""
        ready: dict[tuple[str, str], list[_Track]] = {}
        for track in self._tracks.values():
            if track.waits and not silenced(track.alarm, silences, now_us):
                ready.setdefault((track.alarm.stream, track.alarm.rule), []).append(track)
        fresh = [
            notice
            for tracks in ready.values()
            if now_us - min(t.arrived_us for t in tracks) >= self._group_wait_us
            for notice in _notices(tracks, again=False)
        ]
        fresh.sort(key=lambda notice: -notice.severity.rank)
        return [*fresh, *self._repeats(now_us, silences)]

    def delivered(self, notice: Notice, now_us: int) -> None:
        """It was sent, or was given up: nobody is told of these revisions again."""
        for alarm in notice.alarms:
            track = self._tracks.get(alarm.id)
            if track is not None:
                track.sent_us = now_us
                self._told(track, alarm)

    def unfinished(self, now_us: int, silences: Sequence[Silence]) -> dict[int, int]:
        """Partition -> the lowest offset of a revision that must still be told.

        A silenced one does not count: the channel has done with it what is to be done.
        """
        found: dict[int, int] = {}
        for track in self._tracks.values():
            if track.place and track.waits and not silenced(track.alarm, silences, now_us):
                partition, offset = track.place
                found[partition] = min(found.get(partition, offset), offset)
        return found

    def waiting(self, now_us: int, silences: Sequence[Silence]) -> int:
        """How many alarms must still be told."""
        tracks = self._tracks.values()
        return sum(t.waits and not silenced(t.alarm, silences, now_us) for t in tracks)

    @property
    def open(self) -> list[Alarm]:
        """Every alarm that is not over, or whose end was not told."""
        return [track.alarm for track in self._tracks.values()]

    def _repeats(self, now_us: int, silences: Sequence[Silence]) -> list[Notice]:
        if self._repeat_us is None:
            return []
        tracks = [
            track
            for track in self._tracks.values()
            if track.alarm.firing
            and not track.waits
            and (track.sent_us is None or now_us - track.sent_us >= self._repeat_us)
            and now_us - track.alarm.updated_us < FORGET_US
            and not silenced(track.alarm, silences, now_us)
        ]
        return _notices(tracks, again=True)

    def _told(self, track: _Track, alarm: Alarm) -> None:
        track.told = alarm
        if not track.alarm.firing and not alarm.firing:
            self._forget(alarm)

    def _forget(self, alarm: Alarm) -> None:
        self._tracks.pop(alarm.id, None)
        self._over.pop(alarm.id, None)
        self._over[alarm.id] = alarm.revision
        while len(self._over) > RECENT_MAX:
            del self._over[next(iter(self._over))]


def _notices(tracks: Sequence[_Track], *, again: bool) -> list[Notice]:
    alarms = sorted((t.alarm for t in tracks), key=lambda a: (-a.severity.rank, a.started_us, a.id))
    cuts = range(0, len(alarms), NOTICE_ALARMS_MAX)
    return [Notice(tuple(alarms[cut : cut + NOTICE_ALARMS_MAX]), again) for cut in cuts]
