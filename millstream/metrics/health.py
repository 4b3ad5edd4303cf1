"""Whether a program lives, and whether it is ready: what /live and /ready answer.

Live: its loop turned lately, or a stage that may take long is under way. Ready: it said that it is
up, it has been assigned its partitions, lives, and nothing that it needs is away.
"""

from __future__ import annotations

from collections.abc import Callable


class Health:
    """clock: seconds. bound_s: how long the loop may stand still. needs_partitions: whether it is
    ready only once the group has answered, be it with no partition.

    >>> now = [0.0]
    >>> health = Health(lambda: now[0], 10.0)
    >>> health.why_not_ready()
    ['it is still starting', 'the group has assigned nothing yet']
    >>> health.up(); health.assigned(); health.why_not_ready()
    []
    >>> now[0] = 11.0; health.why_not_live()
    ['the loop has not turned for 11 s']
    """

    def __init__(
        self, clock: Callable[[], float], bound_s: float, needs_partitions: bool = True
    ) -> None:
        self._clock = clock
        self._bound_s = bound_s
        self._turned = clock()
        self._is_up = False
        self._is_assigned = not needs_partitions
        self._trouble = ""
        self._stage = ""

    def turned(self) -> None:
        """The loop goes round."""
        self._turned = self._clock()

    def up(self) -> None:
        """Every part is loaded, every dependency has answered."""
        self._is_up = True
        self.turned()

    def assigned(self) -> None:
        """The group has answered."""
        self._is_assigned = True

    def trouble(self, why: str) -> None:
        """What is needed is away; "": it is back."""
        self._trouble = why

    def stage(self, name: str) -> None:
        """Work that may take longer than any bound; "": it is over."""
        self._stage = name
        self.turned()

    def why_not_live(self) -> list[str]:
        """Nothing where it lives."""
        still_s = self._clock() - self._turned
        if self._stage or still_s <= self._bound_s:
            return []
        return [f"the loop has not turned for {still_s:.0f} s"]

    def why_not_ready(self) -> list[str]:
        """Nothing where it is ready."""
        found = [] if self._is_up else ["it is still starting"]
        if not self._is_assigned:
            found.append("the group has assigned nothing yet")
        if self._trouble:
            found.append(self._trouble)
        return found + self.why_not_live()
