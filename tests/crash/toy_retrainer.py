"""A retrainer whose stages are files, to be killed by `test_retrainer.py`; its journal is real.

python -m tests.crash.toy_retrainer STREAM.TOML BOOTSTRAP REGISTRY FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from consumers.registry import Registry
from consumers.releases import publish_release
from consumers.retrainer import Done, Ended, Result, Retrainer
from consumers.retraining_log import Journal
from millstream.releases.decide import Wanted, next_release
from millstream.retraining.stages import Attempt, Outcome, Stage, Trigger
from millstream.retraining.table import RetrainTable
from millstream.retraining.triggers import Fired, Opened, Readings, Triggers
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from tests.millstream.releases.made import model


class Files:
    """Each stage writes that it ran; the last one releases."""

    def __init__(self, stream: Stream, kafka: KafkaSettings, registry: Registry, folder: Path):
        self._release = (stream, kafka, registry)
        self._folder = folder

    def run(self, stage: Stage, attempt: Attempt) -> Result:
        """What it found is how many stages were done before."""
        with (self._folder / "ran").open("a") as file:
            file.write(f"{stage}\n")
        if stage is not Stage.PROMOTE:
            return Done({"before": len(attempt.done)})
        wanted = Wanted(f"{attempt.id}-promote", model("2"))
        made = publish_release(
            *self._release, lambda known: next_release(known, "toys", model("1"), wanted)
        )
        return Ended(Outcome.PROMOTED, "as ever", {"number": made.number})

    def readings(self) -> Readings:
        """Nothing asks."""
        return Readings(0, 700)

    def incidents(self) -> list[Opened]:
        """None."""
        return []

    def close(self) -> None:
        """Nothing is open."""


def main(path: str, bootstrap: str, url: str, folder: str) -> None:
    """One attempt to its end, begun where none is under way or over."""
    stream, kafka = Stream.load(Path(path)), KafkaSettings(bootstrap=bootstrap)
    registry = Registry(RegistrySettings(url=url))
    journal = Journal(stream, kafka, registry)
    retrainer = Retrainer(
        journal,
        Files(stream, kafka, registry, Path(folder)),
        Triggers(RetrainTable(schedule_labels=0)),
        lambda: time.time_ns() // 1_000,
        "toys-retrain-0",
    )
    (Path(folder) / "up").touch()
    attempts = journal.log.attempts
    attempt = attempts[0] if attempts else retrainer.begin(Fired(Trigger.MANUAL, "a test"))
    retrainer.finish(attempt, threading.Event())
    journal.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
