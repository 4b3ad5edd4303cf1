"""A courier: one channel's own thread, its own mark in NAME.alarms, its own retries.

  1. read NAME.alarms (Kafka is the queue: what is in hand is bounded, the rest waits there)
  2. send what is due, with retries whose waits grow to a bound
  3. keep the mark: below it everything was sent, given up or silenced
A crash between 2 and 3 sends again what was sent: at least once, under the same ids. A channel that
hangs holds up no other, and never the rules.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Message

from consumers.alerts.channels import Channel
from consumers.alerts.log import Follower, value_of
from millstream.alerts.notify import Notice, Notifier
from millstream.alerts.silence import Silence
from millstream.alerts.wire import Reader, SchemaOf
from millstream.errors import (
    ClientLost,
    DependencyUnavailable,
    MillstreamError,
    OperatorNeeded,
    RecordRefused,
)
from millstream.metrics.store import Store
from millstream.settings import AlertsSettings, KafkaSettings
from millstream.stream import Stream

POLL_S = 0.2
BACKOFF_S_MIN = 1.0
MARK_US_MAX = 60_000_000
"""The mark is kept anew at least so often: it says until when everything due was told."""

_log = logging.getLogger(__name__)


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


class Courier:
    """silences: those known now. error: what ended the thread, for whoever started it."""

    def __init__(
        self,
        channel: Channel,
        stream: Stream,
        kafka: KafkaSettings,
        schema_of: SchemaOf,
        settings: AlertsSettings,
        silences: Callable[[], Sequence[Silence]],
    ) -> None:
        self.channel = channel
        self.error: BaseException | None = None
        self._told = {"told": 0, "given_up": 0}
        self._topic = stream.topic("alarms")
        self._group = f"{stream.name}-alert-{channel.name}"
        self._kafka = kafka
        self._reader = Reader(schema_of)
        self._settings = settings
        self._silences = silences
        self._stop = threading.Event()
        wait_us = round(stream.alerts.group_wait_s * 1_000_000)
        self._notifier = Notifier(wait_us, channel.repeat_us)
        self._next: dict[int, int] = {}  # partition -> offset behind the last record taken
        self._kept: tuple[dict[int, int], int] = ({}, 0)
        self._thread = threading.Thread(target=self._run, name=self._group, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the try in hand, a time-out long at most; what waits is sent at the next start."""
        self._stop.set()
        self._thread.join(self._settings.timeout_s + 20.0)
        if self._thread.is_alive():
            _log.warning("%s hangs; what it has not told is told at the next start", self._group)

    def show(self, store: Store) -> None:
        """What was told, and what was not, as numbers; called in another thread."""
        for result, count in self._told.items():
            store.total(
                "millstream_alerts_notices_total", count, channel=self.channel.name, result=result
            )

    def _run(self) -> None:
        try:
            follower = Follower(self._kafka, self._topic, self._group)
            try:
                self._serve(follower)
            finally:
                follower.close()
        except BaseException as why:  # noqa: BLE001 - raised again by whoever started us
            self.error = why

    def _serve(self, follower: Follower) -> None:
        self._catch_up(follower)
        while not self._stop.is_set():
            now, silences = now_us(), self._silences()
            due = self._notifier.due(now, silences)
            room = self._notifier.waiting(now, silences) < self._settings.queue_max
            if room:
                self._take(follower.take(0.0 if due else POLL_S))
            if due:  # the worst only: what is read meanwhile may be worse
                self._tell(due[0])
            elif not room:
                self._stop.wait(POLL_S)
            self._keep(follower)

    def _catch_up(self, follower: Follower) -> None:
        """Read what the topic holds: below the mark people were told of it."""
        marks = follower.marks()
        for record in follower.to_end():
            offset, told_us = marks.get(record.partition() or 0, (0, 0))
            if (record.offset() or 0) < offset:
                self._remember(record, told_us)
            else:
                self._take([record])
        # an offset never goes back, though a silenced alarm below it may yet be told
        told_us = min((told for _, told in marks.values()), default=0)
        self._kept = ({p: offset for p, (offset, _) in marks.items()}, told_us)

    def _remember(self, record: Message, told_us: int) -> None:
        try:
            alarm = self._reader.alarm(value_of(record))
        except RecordRefused:
            return  # it was said when it was read first
        self._notifier.remember(alarm, told_us, self._silences())

    def _take(self, records: Sequence[Message]) -> None:
        for record in records:
            place = record.partition() or 0, record.offset() or 0
            try:
                self._notifier.take(self._reader.alarm(value_of(record)), now_us(), place)
            except RecordRefused as why:
                _log.error("%s-%d:%d is no alarm: %s", self._topic, *place, why.reason)
            self._next[place[0]] = place[1] + 1

    def _tell(self, notice: Notice) -> None:
        """Send until it is taken or given up; a stop leaves it for the next start."""
        backoff_s = BACKOFF_S_MIN
        for attempt in range(1, self._settings.attempts_max + 1):
            try:
                self.channel.send(notice, now_us())
                self._told["told"] += 1
                break
            except OperatorNeeded as why:
                self._give_up(notice, f"{why.problem}. {why.remedy}")
                break
            except DependencyUnavailable as why:
                if notice.again or attempt == self._settings.attempts_max:
                    self._give_up(notice, why.reason)
                    break
                _log.warning("%s; attempt %d is in %.0f s", why, attempt + 1, backoff_s)
                if self._stop.wait(backoff_s):
                    return
                backoff_s = min(2 * backoff_s, self._settings.backoff_s_max)
        self._notifier.delivered(notice, now_us())

    def _give_up(self, notice: Notice, why: str) -> None:
        if notice.again:
            _log.warning("%s: %s; what fires is sent again later", self.channel.name, why)
            return
        self._told["given_up"] += 1
        _log.error(
            "%s did not tell of %s (%s): %s; it stays in %s, and is not sent again",
            self.channel.name,
            ", ".join(f"{alarm.id} revision {alarm.revision}" for alarm in notice.alarms[:5]),
            notice.alarms[0].summary,
            why,
            self._topic,
        )

    def _keep(self, follower: Follower) -> None:
        """Step 3. A mark that cannot be kept now is kept later: until then a crash sends again."""
        now, silences = now_us(), self._silences()
        unfinished = self._notifier.unfinished(now, silences)
        kept, told_us = self._kept
        offsets = {
            p: max(min(end, unfinished.get(p, end)), kept.get(p, 0))
            for p, end in ({**kept, **self._next}).items()
        }
        all_told = not self._notifier.waiting(now, silences)
        late = all_told and now - told_us >= MARK_US_MAX
        if not offsets or (offsets == kept and not late):
            return
        told_us = now if all_told else told_us
        try:
            follower.commit(offsets, told_us)
        except ClientLost:
            raise
        except DependencyUnavailable as why:
            _log.warning("%s; until it is kept a restart of %s repeats notices", why, self._group)
            return
        self._kept = (offsets, told_us)


def tell_now(channels: Sequence[Channel], notice: Notice) -> dict[str, str | None]:
    """Channel -> None where it took the notice, else why not: one try each, for people who ask."""
    said: dict[str, str | None] = {}
    for channel in channels:
        try:
            channel.send(notice, now_us())
            said[channel.name] = None
        except MillstreamError as why:
            said[channel.name] = str(why)
    return said
