"""The scorer: events in, predictions and dead letters out, in one transaction a batch.

consume -> ScoringPlan (millstream/scoring.py) -> Breaker -> Publisher (publishers.py) -> finished
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer

from consumers.kafka import consumer_config
from consumers.loop import Assignment, Loop
from consumers.metrics.instruments import current
from consumers.publishers import AtLeastOnce, ExactlyOnce, Extra, Letter, Output, Publisher, Route
from consumers.registry import Registry
from consumers.releases.crew import open_crew
from consumers.releases.rota import Rota, Shift
from consumers.topics import kinds_there
from millstream.breaker import Breaker, Limits
from millstream.errors import Refusal
from millstream.letters import DeadLetter, attempt_of, fitted, replay_of
from millstream.models.bundle import Bundle
from millstream.offsets import Partition
from millstream.records import Headers, Records
from millstream.scoring import Answers, ScoringPlan
from millstream.settings import KafkaSettings, RegistrySettings, ScorerSettings
from millstream.stream import Stream

MODEL_HEADER = "millstream.model"
"""On every prediction: version, a blank, digest. One header, because each costs half as much as all
else of `produce()`."""

ALL = ((None, None),)
"""The parts of a batch that the plan's own model answers."""

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
        self.predictions += len(answers.rows)
        self.dead_letters += len(answers.refusals)
        for refusal in answers.refusals:
            self.causes[refusal.name] = self.causes.get(refusal.name, 0) + 1
        for mark, count in answers.answered.items():
            self.answered[mark] = self.answered.get(mark, 0) + count


class Scorer:
    """The loop's program: score a batch, publish it, count it finished.

    tally: what was finished, for whoever shows it. rota: who answers which record; None: the plan's
    own model answers all.
    """

    def __init__(
        self,
        plan: ScoringPlan,
        publisher: Publisher,
        assignment: Assignment,
        route: Route,
        bundle: Bundle,
        settings: ScorerSettings,
        rota: Rota | None = None,
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
        self._rota = rota
        self._instruments = current()
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
        if self._rota is not None:
            self._rota.leave(number for _, number in partitions)

    def rewind(self) -> None:
        """Back to the committed offsets."""
        self._assignment.rewind_to_committed()

    def idle(self) -> None:
        """Between batches: what is new about releases."""
        if self._rota is not None:
            notes = self._rota.look()
            if notes:
                self._publisher.note(notes)
                self._rota.noted()

    def drain(self) -> None:
        """Nothing is in hand between two batches."""

    def take(self, batch: list[Records]) -> None:
        """Score and publish; the records are finished only when `publish` has returned.

        Raises TooManyRefusals before anything of the batch is published.
        """
        for records in batch:
            shift = Shift(ALL) if self._rota is None else self._rota.assign(records)
            several = len(shift.parts) > 1
            made: list[Answers] = []
            outputs: list[Output] = []
            refusals: list[Refusal] = []
            offsets = records.next_offsets()
            for rows, lineup in shift.parts:
                part = records if rows is None else records.take(rows)
                answers = self._plan.run(part, lineup)
                made.append(answers)
                outputs.append(self._output(part, answers, offsets, several))
                refusals += answers.refusals if rows is None else _placed(answers.refusals, rows)
            replays = [r.row for r in refusals if replay_of(records.headers.get(r.row, ()))]
            weighed = self._breaker.weigh(records.partitions, refusals, replays)
            output = _joined(outputs) if several else outputs[0]
            if self._rota is not None and shift.switches:
                output = replace(output, before=self._rota.extras(shift.switches))
            self._publisher.publish(output, self._assignment.consumer)
            for partition, offset in offsets.items():
                self._assignment.positions.finish((records.topic, partition), offset)
            self._breaker.keep(weighed)
            if self._rota is not None:
                self._rota.settle(shift.switches)
            self._instruments.switched(len(shift.switches))
            self._instruments.answered(records, made)
            self.tally.batches += 1
            for answers in made:
                self.tally.add(answers)

    def _output(
        self, records: Records, answers: Answers, offsets: dict[int, int], several: bool
    ) -> Output:
        """several: it is one of the parts of a batch."""
        whole = len(answers.rows) == len(records)
        keys = records.keys if whole else [records.keys[row] for row in answers.rows]
        model = answers.models[0] if answers.models else self._bundle
        ids = answers.schema_ids
        headers, rows = self._headers(answers, several), answers.rows
        return Output(
            records.partitions[answers.rows].tolist(),
            keys,
            answers.predictions,
            [self._letter(records, refusal, ids, model) for refusal in answers.refusals],
            offsets,
            self._instruments.continued(headers, self._route.headers, records, rows),
            beside=self._others(records, answers),
        )

    def _headers(self, answers: Answers, several: bool) -> Sequence[Headers] | None:
        """Of each prediction; None where they are the route's."""
        models = answers.models or (self._bundle,)
        if len(models) == 1 and models[0] is self._bundle and not several:
            return None
        named = [model_headers(model) for model in models]
        if answers.model_of is None:
            return named[:1] * len(answers.rows)
        return [named[place] for place in answers.model_of.tolist()]

    def _others(self, records: Records, answers: Answers) -> tuple[Extra, ...]:
        """What did not answer."""
        rows = answers.shadow_rows
        if not len(rows):
            return ()
        keys = [records.keys[row] for row in rows.tolist()]
        partitions = records.partitions[rows].tolist()
        return (Extra(self._route.shadows, partitions, keys, answers.shadows),)

    def _letter(
        self,
        records: Records,
        refusal: Refusal,
        schema_ids: npt.NDArray[np.int64],
        bundle: Bundle,
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
            model=bundle.name,
            model_version=bundle.version,
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
    registry = Registry(registry_settings)
    group = f"{stream.name}-scorer"
    with ExitStack() as exits:
        kinds = kinds_there(stream, kafka)
        crew = open_crew(stream, kafka, registry, settings, f"{group}-{settings.slot}", kinds)
        exits.callback(crew.close)
        bundle = crew.first.champion.bundle
        route = Route(
            stream.topic("events"),
            stream.topic("predictions"),
            stream.topic("dead_letters"),
            model_headers(bundle),
            stream.topic("shadows"),
        )
        publisher = _publisher(stream, kafka, settings, group, route)
        publisher.open()
        exits.callback(publisher.close)
        commits_itself = publisher.guarantee == AtLeastOnce.guarantee
        config = consumer_config(kafka, group, f"{group}-{settings.slot}", commits_itself)
        consumer = Consumer(config)
        assignment = Assignment(consumer)
        parts = (crew.plan, publisher, assignment, route, bundle, settings)
        scorer = Scorer(*parts, crew.rota)
        said = (route.events, bundle.name, bundle.version, publisher.guarantee)
        _log.info("scoring %s with %s %s, %s", *said)
        if watch:
            watch(scorer.tally)
        Loop(assignment, current().around(scorer, assignment), stop).run()
    return scorer.tally


def model_headers(bundle: Bundle) -> Headers:
    """What predictions of this model carry."""
    return [(MODEL_HEADER, f"{bundle.version} {bundle.digest}".encode())]


def _placed(refusals: Iterable[Refusal], rows: npt.NDArray[np.int64]) -> list[Refusal]:
    """Refusals of a part of a batch, with their rows in the batch."""
    return [replace(refusal, row=int(rows[refusal.row])) for refusal in refusals]


def _joined(outputs: list[Output]) -> Output:
    """The parts of a batch, which have its offsets each; of a partition in the events' order."""
    headers: list[Headers] = []
    for output in outputs:
        headers += output.headers or ()
    return Output(
        [p for output in outputs for p in output.partitions],
        [key for output in outputs for key in output.keys],
        [value for output in outputs for value in output.predictions],
        [letter for output in outputs for letter in output.letters],
        outputs[0].offsets,
        headers,
        beside=[extra for output in outputs for extra in output.beside],
    )


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
