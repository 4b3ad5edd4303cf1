"""The stages of a retraining, counted from outside: how long each ran, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from consumers.metrics.instruments import Instruments
from consumers.retrainer import Done, Ended, Result, Steps, Waits
from millstream.errors import DependencyUnavailable, MillstreamError
from millstream.retraining.stages import Attempt, Outcome, Stage
from millstream.retraining.triggers import Counted, Opened, Readings


class SeenSteps:
    """Does what `steps` do, and raises what they raise. clock: seconds."""

    def __init__(
        self,
        steps: Steps,
        instruments: Instruments,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._instruments = instruments
        self._clock = clock

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """One stage; an error that ends the attempt counts as its failure, as the retrainer has
        it."""
        self._instruments.running(stage.value)
        began, said = self._clock(), "error"
        try:
            result = self._steps.run(stage, attempt)
            said = _name(stage, result)
        except MillstreamError as why:
            said = "error" if isinstance(why, DependencyUnavailable) else Outcome.FAILED.value
            raise
        finally:
            self._instruments.ran(stage.value, self._clock() - began, said)
        return result

    def end(self, stage: Stage, attempt: Attempt, how: Ended) -> Ended:
        """As the steps."""
        return self._steps.end(stage, attempt, how)

    def labels(self) -> Counted:
        """As the steps."""
        return self._steps.labels()

    def readings(self) -> Readings:
        """As the steps; the loop goes round."""
        self._instruments.turned()
        return self._steps.readings()

    def heard(self) -> Readings:
        """As the steps."""
        return self._steps.heard()

    def incidents(self) -> list[Opened]:
        """As the steps; the loop goes round."""
        self._instruments.turned()
        return self._steps.incidents()

    def close(self) -> None:
        """As the steps."""
        self._steps.close()


def _name(stage: Stage, result: Result) -> str:
    if isinstance(result, Waits):
        return "waits"
    if isinstance(result, Ended):
        return result.outcome.value
    assert isinstance(result, Done), (stage, result)
    return "done"
