"""The scorer: events in, predictions and dead letters out, in one transaction a batch.

consume -> ScoringPlan (millstream/scoring.py) -> Breaker -> Publisher (publishers.py) -> finished
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer

from consumers.answering import answering
from consumers.kafka import consumer_config
from consumers.loop import Assignment, Loop
from consumers.publishers import AtLeastOnce, ExactlyOnce, Letter, Output, Publisher, Route
from consumers.registry import Registry
from millstream.breaker import Breaker, Limits
from millstream.contracts import contract
from millstream.errors import Refusal
from millstream.fit import require_fit
from millstream.letters import DeadLetter, attempt_of, fitted, replay_of
from millstream.models.bundle import Bundle
from millstream.offsets import Partition
from millstream.records import Records
from millstream.scoring import Answers, ScoringPlan
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream

MODEL_HEADER = "millstream.model"
"""On every prediction: version, a blank, digest. One header, because each costs half as much as all
else of `produce()`."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What a scorer has finished since it started."""

    predictions: int = 0
    dead_letters: int = 0
    batches: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)

    def add(self, answers: Answers) -> None:
        self.batches += 1
        self.predictions += len(answers.rows)
        self.dead_letters += len(answers.refusals)
        for refusal in answers.refusals:
            self.causes[refusal.name] = self.causes.get(refusal.name, 0) + 1
        for mark, count in answers.answered.items():
            self.answered[mark] = self.answered.get(mark, 0) + count


class Scorer:
    """The loop's program: score a batch, publish it, count it finished.

    tally: what was finished, for whoever shows it.
    """

    def __init__(
        self,
        plan: ScoringPlan,
        publisher: Publisher,
        assignment: Assignment,
        route: Route,
        bundle: Bundle,
        settings: ScorerSettings,
    ) -> None:
        self.topics: tuple[str, ...] = (route.events,)
        self.guarded = frozenset(self.topics)
        self.records_max = settings.transaction_events_max
        self.tally = Tally()
        self._plan = plan
        self._publisher = publisher
        self._assignment = assignment
        self._route = route
        self._bundle = bundle
        limits = Limits(
            settings.breaker_ratio_max,
            settings.breaker_window_events,
            settings.breaker_events_min,
            settings.breaker_run_max,
        )
        self._breaker = Breaker(route.events, limits)

    def place(self, partitions: list[Partition]) -> dict[Partition, int | None]:
        """At the group's committed offsets."""
        return dict.fromkeys(partitions)

    def leave(self, partitions: list[Partition]) -> None:
        """Nothing is in hand between two batches."""
        self._breaker.forget(number for _, number in partitions)

    def rewind(self) -> None:
        """Back to the committed offsets."""
        self._assignment.rewind_to_committed()

    def idle(self) -> None:
        """Nothing to do between batches."""

    def drain(self) -> None:
        """Nothing is in hand between two batches."""

    def take(self, batch: list[Records]) -> None:
        """Score and publish; the records are finished only when `publish` has returned.

        Raises TooManyRefusals before anything of the batch is published.
        """
        for records in batch:
            answers = self._plan.run(records)
            refusals = answers.refusals
            replays = [r.row for r in refusals if replay_of(records.headers.get(r.row, ()))]
            weighed = self._breaker.weigh(records.partitions, refusals, replays)
            offsets = records.next_offsets()
            self._publisher.publish(
                self._output(records, answers, offsets), self._assignment.consumer
            )
            for partition, offset in offsets.items():
                self._assignment.positions.finish((records.topic, partition), offset)
            self._breaker.keep(weighed)
            self.tally.add(answers)

    def _output(self, records: Records, answers: Answers, offsets: dict[int, int]) -> Output:
        whole = len(answers.rows) == len(records)
        keys = records.keys if whole else [records.keys[row] for row in answers.rows]
        return Output(
            records.partitions[answers.rows].tolist(),
            keys,
            answers.predictions,
            [self._letter(records, refusal, answers.schema_ids) for refusal in answers.refusals],
            offsets,
        )

    def _letter(
        self, records: Records, refusal: Refusal, schema_ids: npt.NDArray[np.int64]
    ) -> Letter:
        row = refusal.row
        own = records.headers.get(row, ())
        schema_id = int(schema_ids[row])
        letter = DeadLetter(
            source_topic=records.topic,
            source_partition=int(records.partitions[row]),
            source_offset=int(records.offsets[row]),
            stage=refusal.stage.value,
            error=refusal.name,
            reason=refusal.reason,
            attempt=attempt_of(own),
            event_schema_id=schema_id if schema_id >= 0 else None,
            model=self._bundle.name,
            model_version=self._bundle.version,
            refused_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        _, key, value, headers = fitted(letter, records.keys[row], records.values[row], own)
        return Letter(letter.source_partition, key, value, headers)


def run_scorer(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    settings: ScorerSettings,
    stop: threading.Event,
    watch: Callable[[Tally], None] | None = None,
) -> Tally:
    """Score the stream until `stop` is set; returns what was finished.

    watch: called with the tally once the scorer is ready.
    Raises OperatorNeeded before anything is read where a part does not fit another, ClientLost
    where the process must be started again.
    """
    bundle = Bundle.load(stream.bundle_path)
    require_fit(stream, bundle)
    session = answering(stream, bundle, settings)
    registry = Registry(registry_settings)
    schema_id = registry.register(
        f"{stream.topic('predictions')}-value", contract("prediction").text
    )
    plan = ScoringPlan(stream, bundle, session, registry.schema, schema_id, _now_us)
    route = Route(
        stream.topic("events"),
        stream.topic("predictions"),
        stream.topic("dead_letters"),
        [(MODEL_HEADER, f"{bundle.version} {bundle.digest}".encode())],
    )
    group = f"{stream.name}-scorer"
    publisher = _publisher(stream, kafka, settings, group, route)
    publisher.open()
    consumer = Consumer(consumer_config(kafka, group, f"{group}-{settings.slot}"))
    assignment = Assignment(consumer)
    scorer = Scorer(plan, publisher, assignment, route, bundle, settings)
    _log.info(
        "scoring %s with %s %s, %s", route.events, bundle.name, bundle.version, publisher.guarantee
    )
    if watch:
        watch(scorer.tally)
    try:
        Loop(assignment, scorer, stop).run()
    finally:
        publisher.close()
    return scorer.tally


def _publisher(
    stream: Stream, kafka: KafkaSettings, settings: ScorerSettings, group: str, route: Route
) -> Publisher:
    if kafka.embedded or stream.serving.guarantee == "at_least_once":
        if kafka.embedded and stream.serving.guarantee == "exactly_once":
            _log.warning(
                "the embedded broker keeps no transactions: predictions are made at least once; "
                "exactly once needs a real broker"
            )
        return AtLeastOnce(kafka, settings, group, route)
    return ExactlyOnce(kafka, settings, group, route)


def _now_us() -> int:
    return time.time_ns() // 1000
