"""Faust's consumer, begun where the state says, with nothing left of what was read before.

Faust 0.15 resumes its partitions before it seeks, and seeks only where the group has committed:
what is fetched in between is lost, or comes after what follows it. Here the seek is made by the
task that fetches, between two fetches, and each record tells whether it was read since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from faust.types import TP

from streams.committed import CommittedConsumer, CommittedTransport


class SeekingConsumer(CommittedConsumer):
    """`begin_at` it; then `is_current` tells of each record whether it was read since."""

    _places: Mapping[TP, int] | None = None
    _serial = 0
    _stamp = b""
    """Of the last begin_at, in a record's field `checksum`, which nothing else uses."""

    def begin_at(self, places: Mapping[TP, int]) -> None:
        """Go on at these offsets: what was fetched before is dropped, whoever has it."""
        self._places = places
        self._serial += 1
        self._stamp = b"%d" % self._serial

    def is_current(self, message: Any) -> bool:
        """Whether it was read since the last `begin_at`, in this generation of the group."""
        is_ours = message.generation_id == self.app.consumer_generation_id
        return bool(is_ours and message.checksum == self._stamp)

    async def perform_seek(self) -> None:
        """Not where the group has committed: each rebalance is followed by `begin_at`."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """What Faust's gives, from the places on."""
        if self._places is not None:
            places, self._places = self._places, None
            owned = self.assignment()
            for tp, place in places.items():
                if tp not in owned:
                    continue
                await self.seek(tp, place)
                # or it waits for acknowledgements of what lies before the place, and never commits
                self._committed_offset[tp] = place or None
        stamp = self._stamp
        async for tp, message in super().getmany(timeout):
            if stamp != self._stamp:
                return
            message.checksum = stamp
            yield tp, message


class SeekingTransport(CommittedTransport):
    """For `app.transport`, with the broker's URL."""

    Consumer: ClassVar[Any] = SeekingConsumer


def read_from_places(app: Any) -> None:
    """Make this app's consumer a SeekingConsumer; before it starts."""
    app.transport = SeekingTransport(app.conf.broker_consumer, app)
