"""The policy as a retrainer steps it, in one process: it is looked at when a retraining is due.

asked: a challenge is made each time, due or not. What is lost between this and the loop is the
retrainer's schedule; what is lost between this and Kafka is the way there.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from millstream.retraining.challenge import Ranges, Why
from ops.bench.loop.contenders import Loop
from ops.bench.loop.models import Models
from ops.bench.loop.prequential import run
from ops.bench.loop.streams import GOALS, load
from ops.kafka.fetch import REPOSITORY

SCHEDULE_LABELS: Final = 100


class Stepped(Loop):
    """schedule: labels between two retrainings. asked: see the module."""

    def __init__(
        self, models: Models, schedule: int = SCHEDULE_LABELS, *, asked: bool = True
    ) -> None:
        super().__init__(models)
        self._schedule = schedule
        self._why: Why | None = "asked" if asked else None
        self._due = models.stream.warm_up

    def step(self, labelled: int, answered: int) -> Ranges:
        self.policy.take(np.arange(self._labelled, labelled))
        self._labelled = labelled
        if labelled >= self._due:
            self._due = labelled + self._schedule
            self.policy.look(self._losses, answered, answered - labelled, self._why)
        return self.policy.wanted.ranges


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m ops.bench.loop.stepped", description=__doc__)
    parser.add_argument("--streams", default=",".join(GOALS))
    parser.add_argument("--delays", default="0")
    parser.add_argument("--schedules", default="50,100,200,500")
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    given = parser.parse_args()
    for name in given.streams.split(","):
        models = Models(load(name, given.data))
        for delay in map(int, given.delays.split(",")):
            for schedule in map(int, given.schedules.split(",")):
                for asked in (True, False):
                    make = partial(Stepped, schedule=schedule, asked=asked)
                    made = run(models, make, delay)
                    sys.stdout.write(
                        f"{name}, {delay} late, every {schedule} labels, "
                        f"{'asked' if asked else 'where due'}: {made.accuracy:.2f}, "
                        f"{len(made.swaps)} swaps, {made.fits} fits\n"
                    )
                    sys.stdout.flush()
