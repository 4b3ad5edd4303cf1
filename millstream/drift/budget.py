"""The one dial: how many false alarms a week may cost somebody's sleep.

A detector needs a mean run length between false alarms, in events; people think in weeks. The
rate of events turns one into the other and is followed as it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

WEEK_S: Final = 7 * 86_400.0
MEMORY_S: Final = 2 * 86_400.0
"""The rate is that of about so long. Too short: nights and days differ. Too long: slow to learn."""
KNOWN_S: Final = 60.0
"""Seconds of events before the rate is believed."""
RUN_EVENTS: Final = 50_000.0
"""Events between two false alarms while the rate is not known."""
RUN_EVENTS_MIN: Final = 200.0


class Budget:
    """False alarms a week, as the share of one that each event may use.

    Time comes with the events, in microseconds; it may stand still and go back (replays, several
    partitions): only its advance counts.
    """

    def __init__(self, false_alarms_per_week: float = 1.0) -> None:
        assert false_alarms_per_week > 0, f"{false_alarms_per_week} false alarms a week"
        self.false_alarms_per_week = false_alarms_per_week
        self._events = 0.0
        self._seconds = 0.0
        self._latest_us: float | None = None

    def seen(self, events: float, at_us: float) -> None:
        """So many events, the last of them at this time."""
        if self._latest_us is None:
            self._latest_us = at_us  # the first batch only starts the watch
            return
        advance = max(at_us - self._latest_us, 0.0) / 1e6
        self._latest_us = max(self._latest_us, at_us)
        self._events += events
        self._seconds += advance
        if self._seconds > MEMORY_S:
            self._events *= MEMORY_S / self._seconds
            self._seconds = MEMORY_S

    @property
    def events_per_second(self) -> float | None:
        """None until a minute of events was seen."""
        return self._events / self._seconds if self._seconds >= KNOWN_S else None

    @property
    def run_events(self) -> float:
        """Mean number of events between two false alarms that is asked for (the ARL)."""
        rate = self.events_per_second
        if rate is None:
            return RUN_EVENTS
        return max(rate * WEEK_S / self.false_alarms_per_week, RUN_EVENTS_MIN)

    @property
    def share(self) -> float:
        """What one event may use of the budget of one false alarm."""
        return 1.0 / self.run_events

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"events": self._events, "seconds": self._seconds, "latest_us": self._latest_us}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._events, self._seconds = state["events"], state["seconds"]
        self._latest_us = state["latest_us"]
