"""How far answers are cut back while events wait too long: a ladder, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence


class Ladder:
    """Where a scorer stands. Step 0 is the full answer; each further step costs less.

    It goes one step further when events have waited longer than `late_us` in every batch for
    `after_us`, and one back when they have waited less than half of it for `calm_us`. Between the
    two, and before either time is over, it stays: a single slow batch moves nothing.

    >>> ladder = Ladder(["full", "cheaper"], late_us=100, after_us=10, calm_us=50)
    >>> [ladder.observe(now, 200) for now in (0, 5, 10)]
    ['full', 'full', 'cheaper']
    >>> [ladder.observe(now, waited) for now, waited in ((20, 40), (60, 60), (70, 40), (120, 40))]
    ['cheaper', 'cheaper', 'cheaper', 'full']
    """

    def __init__(self, steps: Sequence[str], late_us: int, after_us: int, calm_us: int) -> None:
        if not steps or min(late_us, after_us, calm_us) < 1:
            raise ValueError("a ladder has a step, and its times are positive")
        self._steps = tuple(steps)
        self._late_us = late_us
        self._after_us = after_us
        self._calm_us = calm_us
        self._at = 0
        self._late_since: int | None = None
        self._calm_since: int | None = None

    @property
    def step(self) -> str:
        """Where it stands."""
        return self._steps[self._at]

    def observe(self, now_us: int, waited_us: int) -> str:
        """The step for a batch that is taken now, whose events have waited so long."""
        late, calm = waited_us > self._late_us, 2 * waited_us < self._late_us
        self._late_since = _since(self._late_since, now_us, late)
        self._calm_since = _since(self._calm_since, now_us, calm)
        if self._late_since is not None and now_us - self._late_since >= self._after_us:
            self._at = min(self._at + 1, len(self._steps) - 1)
            self._late_since = now_us
        elif self._calm_since is not None and now_us - self._calm_since >= self._calm_us:
            self._at = max(self._at - 1, 0)
            self._calm_since = now_us
        return self.step


def _since(begun_us: int | None, now_us: int, holds: bool) -> int | None:
    """Since when something holds; a clock that went back begins anew."""
    if not holds:
        return None
    return now_us if begun_us is None or now_us < begun_us else begun_us
