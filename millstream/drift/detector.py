"""The e-detector as a River detector: `update(x)`, `drift_detected`, `clone()`, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from river import base

from millstream.drift.evidence import Change, Evidence

STATE_VERSION: Final = 1


class EDetector(base.DriftDetector):
    """Anytime-valid detector of changes of a rate, in either direction, exact on counts.

    Give it 0/1 errors, or losses in [0, 1], one by one or as counts. It learns the rate and its
    dependence (bursts) as it goes; `run_events` is its one dial. After a drift it takes what came
    since the change as its new reference.

    Parameters
    ----------
    run_events
        Mean number of events between two false alarms (the average run length). Events a second
        times the seconds that one false alarm may be apart from the next.
    clock
        Events between two looks. More is quicker to compute and slower to detect.
    grace_period
        Events that a change is at least compared with.

    Examples
    --------
    >>> import random
    >>> rng = random.Random(42)
    >>> stream = [rng.random() < (0.1 if i < 2000 else 0.4) for i in range(2500)]
    >>> detector = EDetector()
    >>> for i, x in enumerate(stream):
    ...     detector.update(x)
    ...     if detector.drift_detected:
    ...         print(f"change of about {detector.change.since_events:.0f} events ago found at {i}")
    change of about 80 events ago found at 2063

    References
    ----------
    Shin, Ramdas, Rinaldo: E-detectors: a nonparametric framework for sequential change detection.
    The New England Journal of Statistics in Data Science, 2023.

    """

    def __init__(
        self, run_events: float = 50_000.0, clock: int = 8, grace_period: int = 64
    ) -> None:
        super().__init__()
        if not run_events > 1.0:
            raise ValueError(f"run_events is {run_events}; it must be above 1")
        if clock < 1 or grace_period < 1:
            raise ValueError("clock and grace_period must be at least 1")
        self.run_events = run_events
        self.clock = clock
        self.grace_period = grace_period
        self.change: Change | None = None
        """The last change that was found."""
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        self._evidence = Evidence(
            block_events=self.clock,
            reference_events_min=self.grace_period,
            memory_events=max(2.0 * self.run_events, 65_536.0),
        )

    @property
    def level(self) -> float:
        """Evidence now; 1 raises the alarm."""
        return self._evidence.level

    def update(self, x: float) -> None:
        """Take one error (0 or 1, False or True) or a loss in [0, 1]."""
        if not 0.0 <= x <= 1.0:
            raise ValueError(f"{x} is not in [0, 1]")
        self.update_counts(float(x), 1)

    def update_counts(self, errors: float, events: int) -> None:
        """Take a batch: how many of its events were errors (or the sum of their losses)."""
        if not 0.0 <= errors <= events:
            raise ValueError(f"{errors} errors in {events} events")
        self._drift_detected = False
        if not events:
            return
        share = 1.0 / self.run_events
        if self._evidence.update((float(errors), float(events - errors)), share) >= 1.0:
            self._drift_detected = True
            self.change = self._evidence.change()
            self._evidence.restart()

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers for JSON."""
        return {
            "format": STATE_VERSION,
            "run_events": self.run_events,
            "clock": self.clock,
            "grace_period": self.grace_period,
            "drift_detected": self._drift_detected,
            "evidence": self._evidence.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EDetector:
        """A detector that goes on from `state()` to the same bit. Raises ValueError if unknown."""
        if state.get("format") != STATE_VERSION:
            raise ValueError(f"a detector's state of format {state.get('format')} is not known")
        made = cls(state["run_events"], state["clock"], state["grace_period"])
        made._drift_detected = state["drift_detected"]
        made._evidence.restore(state["evidence"])
        return made
