"""What is published next: events in their order, outcomes so many events later. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feeding:
    """rows: of the stream. first: the row behind the warm-up, whose outcomes are all known at the
    start. delay: the outcome of row i is known when row i + delay has been sent. step: rows that
    are sent before labels are looked at again."""

    rows: int
    first: int
    delay: int
    step: int

    def known(self, sent: int) -> int:
        """How many outcomes are known when so many events were sent.

        >>> feeding = Feeding(rows=100, first=20, delay=5, step=10)
        >>> [feeding.known(sent) for sent in (10, 20, 24, 26, 40)]
        [10, 20, 20, 21, 35]
        """
        return max(min(sent, self.first), sent - self.delay)

    def following(self, sent: int, due: int, *, switching: bool = False) -> int:
        """How many events go out together: up to where the next retraining is due at the latest.

        due: labels at which it is. switching: a release has not switched yet: one event
        at a time, so that few are answered by the model before.

        >>> feeding = Feeding(rows=100, first=20, delay=5, step=10)
        >>> feeding.following(40, 70), feeding.following(72, 70), feeding.following(95, 120)
        (10, 3, 5)
        >>> feeding.following(40, 70, switching=True)
        1
        """
        if switching:
            return min(1, self.rows - sent)
        left = due - self.known(sent)
        behind = max(self.first + self.delay - sent, 0)  # events that make no label known yet
        wanted = min(self.step, left + behind) if left > 0 else self.step
        return min(wanted, self.rows - sent)

    def paced(self, elapsed_s: float, rate: float) -> int:
        """How many events were to be sent by now, the warm-up included.

        >>> Feeding(rows=100, first=20, delay=5, step=10).paced(2.0, 15.0)
        50
        """
        return min(self.first + int(elapsed_s * rate), self.rows)
