"""One stream through real Kafka: every program of Millstream's, fed in order, outcomes late.

The policy counts labels, a retraining takes seconds. So by default time stands still: nothing is
published while the retrainer is at a stage that computes, and a release that was decided is waited
for, one event at a time. With a rate nothing waits for anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from consumers.models.registry import open_registry
from consumers.produce import EventProducer
from consumers.registry import Registry
from consumers.releases import releasing
from consumers.warehouse import Warehouse
from millstream.errors import DependencyUnavailable, InvariantBroken
from millstream.models.bundle import Bundle
from millstream.releases.decide import Wanted
from ops.bench.loop.feeding import Feeding
from ops.bench.loop.following import Ears, await_true
from ops.bench.loop.pieces import Labelled, Piece, Setting, count
from ops.bench.loop.staging import SPACING_S, Staged, Terms
from ops.bench.loop.streams import Stream as Data
from ops.process import Child
from ops.stack import Parts, Running, Stack

SETTLE_S_MAX: Final = 60.0
"""Too low gives up a busy machine; too high notices a dead program late."""
HEAR_S: Final = 1.6
"""A retrainer that hears a change begins with its next look, in a second. Too low feeds on before
it has heard."""
LOOK_S_MAX: Final = 6.0
"""A retrainer that has a reason looks every second. Too low feeds on while it begins."""
STAGE_S_MAX: Final = 180.0
TRIAL_S: Final = 3.2
"""A retrainer that waits for labels looks every 3 s."""
LOAD_S: Final = 0.4
"""A scorer that idles asks for releases every 0.2 s; then it loads."""
TRICKLE_S: Final = 0.15
TRICKLE_MAX: Final = 60
"""Single events that wait for one release; then it is fed on."""
HEADSTART: Final = 40
"""Events of the warm-up that are left for the first model to switch on."""
READY_S_MAX: Final = 90.0
VERIFY_S_MAX: Final = 300.0
PACE_S: Final = 0.02
ENVIRONMENT: Final = {
    "MILLSTREAM_SINK_BLOCK_AGE_MS_MAX": "50",
    "MILLSTREAM_WATCH_COMMIT_S": "0.2",
    "OMP_NUM_THREADS": "1",
}
"""Rows are seen soon, so that a look costs little time; nothing that is counted depends on it."""


@dataclass(slots=True)
class Tally:
    """What the feeding met. trickled: events sent alone; missed: times at which the retrainer had a
    reason and did not begin; waited_s: for the retrainer."""

    trickled: int = 0
    missed: int = 0
    waited_s: float = 0.0
    settling_s: float = 0.0


class Passage:
    """said: told what it is at, and at which event."""

    def __init__(
        self,
        data: Data,
        folder: Path,
        delay: int,
        setting: Setting,
        said: Callable[[str, int], None] = lambda text, sent: None,
    ) -> None:
        self._setting = setting
        self._delay = delay
        self._said = said
        self._folder = folder
        terms = Terms(setting.schedule, setting.trial)
        begin_us = time.time_ns() // 1_000 - (len(data) + delay) * SPACING_S * 1_000_000
        self._staged = Staged(data, folder / "stream", terms, begin_us)
        self._feeding = Feeding(len(data), data.warm_up, delay, min(setting.step, setting.schedule))
        self._tally = Tally()
        self._sent = self._told = 0
        self._patience: float | None = None

    def run(self) -> Piece:
        """All of it. Raises MillstreamError where a part fails, with what its log says."""
        begun = time.monotonic()
        self._staged.placeholder()
        bundle = self._staged.first()
        with self._running() as stack:
            self._stack = stack
            registry = Registry(stack.registry)
            self._lines(registry)
            with (
                closing(Warehouse.connect(stack.warehouse)) as self._warehouse,
                closing(Ears(self._staged.stream, stack.kafka, registry)) as self._ears,
            ):
                self._warm_up(bundle, registry)
                self._add_retrainer()
                self._attend()
                fed = time.monotonic()
                if self._setting.rate:
                    self._paced()
                else:
                    self._standing()
                fed_s = time.monotonic() - fed
                self._end()
                clean = self._verified()
                rows = self._labelled()
        counted = count(rows, self._staged.said(bundle, self._feeding.first), self._staged.data)
        facts = self._facts(rows) | {
            "feeding_s": round(fed_s, 1),
            "seconds": round(time.monotonic() - begun, 1),
        }
        return Piece(
            self._staged.data.name, self._delay, self._setting, counted, self._swaps(), clean, facts
        )

    @contextmanager
    def _running(self) -> Iterator[Stack]:
        """Everything but the retrainer: it has no champion to compare with yet."""
        stack = Stack(self._staged.stream, self._folder / "run", Parts(kafka="real", watch=True))
        stack.environment |= ENVIRONMENT
        self._said("starting", 0)
        with stack:
            yield stack

    def _lines(self, registry: Registry) -> None:
        staged = self._staged
        self._events = staged.events(registry)
        self._outcomes = staged.outcomes(registry, self._delay)
        self._keys = staged.kafka_keys()
        self._producer = EventProducer(self._stack.kafka, "bench-loop")

    def _warm_up(self, bundle: Bundle, registry: Registry) -> None:
        """Rows whose outcomes are there at the start. The placeholder answers them, but for a few
        at the end, so that the first model answers before the first row that counts."""
        self._said("warming up", 0)
        stack, stream, first = self._stack, self._staged.stream, self._feeding.first
        self._send(first - HEADSTART)
        self._settle()
        models = open_registry(stream)
        wanted = Wanted(
            "the-first-model",
            models.add(bundle.folder, {}),
            reason="the first model",
            decided_by="bench",
            decided_us=time.time_ns() // 1_000,
        )
        releasing.release(stream, stack.kafka, registry, models, wanted)
        await_true(lambda: self._ears.switching, SETTLE_S_MAX, self._hear)
        time.sleep(LOAD_S)
        while self._ears.switching and self._sent < first:
            self._trickle()
        if self._ears.switching:
            raise DependencyUnavailable("the scorer", "the first model does not answer in time")
        self._send(first)
        self._settle()
        self._tally = Tally()

    def _add_retrainer(self) -> None:
        """As the stack does, but later."""
        stack, ready = self._stack, self._folder / "run" / "ready" / "retrain"
        command = [sys.executable, "-m", "millstream", "retrain", str(self._staged.stream.path)]

        def start() -> Child:
            return Child(
                "retrain",
                [*command, "--ready-file", str(ready)],
                log=self._folder / "run" / "logs" / "retrain.log",
                env=stack.environment,
            )

        running = stack.programs["retrain"] = Running("retrain", start, ready=ready)
        stack.tend()
        assert running.child is not None, "tending starts what is due"
        running.child.wait_until(ready.exists, timeout_s=READY_S_MAX)

    def _standing(self) -> None:
        """Feed; stand still while the retrainer computes."""
        single = 0
        while self._sent < self._feeding.rows:
            self._said("feeding", self._sent)
            if self._ears.switching and single < TRICKLE_MAX:
                single += 1
                self._trickle()
                continue
            single = 0 if not self._ears.switching else single
            due = self._ears.retrainings.due(self._setting.schedule)
            self._send(self._sent + self._feeding.following(self._sent, due))
            self._settle()
            self._attend()

    def _paced(self) -> None:
        """Feed at the rate, whatever the retrainer does."""
        begun = time.monotonic()
        while self._sent < self._feeding.rows:
            self._said("feeding", self._sent)
            due = self._feeding.paced(time.monotonic() - begun, self._setting.rate)
            if due > self._sent:
                self._send(due)
            self._hear()
            time.sleep(PACE_S)
        self._settle()
        self._attend()

    def _end(self) -> None:
        """Nobody retrains any more; the outcomes that are still to come are told."""
        self._said("ending", self._sent)
        running = self._stack.programs.pop("retrain")
        if running.child is not None:
            running.child.stop(timeout_s=STAGE_S_MAX)
        self._tell(self._feeding.rows)
        self._settle()
        self._hear()

    def _trickle(self) -> None:
        """One event, for the release that waits for it."""
        self._tally.trickled += 1
        self._send(self._sent + self._feeding.following(self._sent, 0, switching=True))
        await_true(lambda: not self._ears.switching, TRICKLE_S, self._hear)

    def _send(self, upto: int) -> None:
        """Events, then the outcomes that are known with them; the broker has them."""
        topic = self._staged.stream.topic("events")
        self._queue(topic, self._events[self._sent : upto], self._keys[self._sent : upto])
        self._sent = upto
        self._tell(self._feeding.known(upto))

    def _tell(self, upto: int) -> None:
        topic = self._staged.stream.topic("outcomes")
        self._queue(topic, self._outcomes[self._told : upto], self._keys[self._told : upto])
        self._told = max(self._told, upto)

    def _queue(self, topic: str, values: Sequence[bytes], keys: Sequence[bytes]) -> None:
        self._producer.queue(topic, values, keys, repeat(0))
        self._producer.flush()
        failures = self._producer.failures
        if failures.count:
            raise DependencyUnavailable("Kafka", f"{failures.count} records: {failures.reasons}")

    def _settle(self) -> None:
        """Wait until ClickHouse has every answer and every label that was to come."""
        name, begun = self._staged.stream.name, time.monotonic()

        def is_in() -> bool:
            ((answers, labels),) = self._warehouse.query(
                f"SELECT (SELECT count() FROM {name}.predictions WHERE kafka_unreadable = ''), "
                f"(SELECT count() FROM {name}.labelled WHERE kafka_unreadable = '')"
            )
            return bool(answers >= self._sent and labels >= self._told)

        if not await_true(is_in, SETTLE_S_MAX, self._hear, 0.05):
            raise DependencyUnavailable(
                "Millstream", f"{self._sent:,} events are not all answered and labelled in time"
            )
        self._tally.settling_s += time.monotonic() - begun

    def _hear(self) -> None:
        self._stack.tend()
        self._ears.hear()

    def _attend(self) -> None:
        """Wait while the retrainer computes, or has a reason to begin."""
        retrainings, begun = self._ears.retrainings, time.monotonic()
        if retrainings.waits:
            time.sleep(TRIAL_S)
        await_true(self._is_at_work, HEAR_S, self._hear)
        if not await_true(self._is_calm, STAGE_S_MAX, self._hear):
            raise DependencyUnavailable(
                "the retrainer", f"an attempt takes longer than {STAGE_S_MAX:g} s"
            )
        if retrainings.is_owed(self._told, self._setting.schedule):
            self._tally.missed += 1
            retrainings.incidents.clear()
        self._tally.waited_s += time.monotonic() - begun
        if self._ears.switching:
            time.sleep(LOAD_S)

    def _is_at_work(self) -> bool:
        """Or has a reason to be."""
        retrainings = self._ears.retrainings
        owed = retrainings.is_owed(self._told, self._setting.schedule)
        return owed or retrainings.log.open is not None

    def _is_calm(self) -> bool:
        retrainings, now = self._ears.retrainings, time.monotonic()
        owed = retrainings.is_owed(self._told, self._setting.schedule)
        if retrainings.computes or not owed:
            self._patience = None
            return not retrainings.computes
        if self._patience is None:
            self._patience = now + LOOK_S_MAX
        if now < self._patience:
            return False
        self._patience = None
        return True

    def _verified(self) -> bool:
        """Whether `millstream verify` finds everything answered once, by the model it says."""
        self._said("verifying", self._sent)
        run = subprocess.run(
            [sys.executable, "-m", "millstream", "verify", str(self._staged.stream.path)],
            env={**os.environ, **self._stack.environment},
            capture_output=True,
            text=True,
            timeout=VERIFY_S_MAX,
            check=False,
        )
        (self._folder / "run" / "logs" / "verify.log").write_text(run.stdout + run.stderr, "utf-8")
        return run.returncode == 0

    def _labelled(self) -> Labelled:
        found = self._warehouse.query(
            "SELECT source_offset, predicted, label, model_version "
            f"FROM {self._staged.stream.name}.labelled_now WHERE status = 'labelled' "
            f"AND source_offset >= {self._feeding.first} ORDER BY source_offset"
        )
        columns = zip(*found, strict=True) if found else repeat((), 4)
        offsets, predicted, labels, versions = columns
        return Labelled([int(offset) for offset in offsets], predicted, labels, versions)

    def _swaps(self) -> tuple[int, ...]:
        """Without the one to the first model."""
        swaps, first = self._ears.swaps(), self._feeding.first
        if not swaps or swaps[0].first_offset >= first:
            raise InvariantBroken(
                f"{self._staged.data.name}: the first model did not answer the first event",
                "Look at the scorer's log",
            )
        return tuple(switch.first_offset - first for switch in swaps[1:])

    def _facts(self, rows: Labelled) -> dict[str, Any]:
        retrainings = self._ears.retrainings
        by_version: dict[str, int] = {}
        for version in rows.versions:
            by_version[version] = by_version.get(version, 0) + 1
        return {
            "retrainings": len(retrainings.log.attempts),
            "outcomes": retrainings.outcomes(),
            "triggers": retrainings.triggers(),
            "failures": retrainings.failures(),
            "stage_s": retrainings.seconds(),
            "incidents": len(retrainings.told),
            "switches": [
                {
                    "release": switch.release.number,
                    "kind": switch.release.kind.value,
                    "champion": switch.release.champion.version,
                    "offset": switch.first_offset,
                }
                for switch in self._ears.timeline.switches
            ],
            "answers": by_version,
            "trickled": self._tally.trickled,
            "missed": self._tally.missed,
            "waited_s": round(self._tally.waited_s, 1),
            "settling_s": round(self._tally.settling_s, 1),
        }
