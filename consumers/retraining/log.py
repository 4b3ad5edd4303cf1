"""NAME.retraining: whoever opens it is the stream's only retrainer, and reads how far all came.

Each record is a transaction of the id NAME-retrain-0, with publishers.py's numbers: opening fences
whoever held it before, so that of two retrainers the earlier one cannot write another word.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from consumers.alerts.log import Follower, value_of
from consumers.publishers import AtLeastOnce, ExactlyOnce, Extra, Route
from consumers.registry import Registry, subject_of
from millstream.alerts import wire
from millstream.contracts import contract
from millstream.errors import RecordRefused
from millstream.errors import Stage as Refused
from millstream.retraining.stages import Attempt, Log, Status, Step
from millstream.settings import KafkaSettings, ScorerSettings
from millstream.stream import Stream


class _Fenced(ExactlyOnce):
    """One transactional id for all retrainers of a stream."""

    program = "retrainer"


class _Repeating(AtLeastOnce):
    """The embedded broker fences nobody."""

    program = "retrainer"


class Journal:
    """The log, and the only way to add to it. Raises OperatorNeeded without the topic."""

    def __init__(self, stream: Stream, kafka: KafkaSettings, registry: Registry) -> None:
        self._topic = stream.topic("retraining")
        exactly = not kafka.embedded and stream.serving.guarantee == "exactly_once"
        made = _Fenced if exactly else _Repeating
        self._publisher = made(
            kafka, ScorerSettings(slot=0), f"{stream.name}-retrain", Route("", self._topic, "")
        )
        subject = subject_of(self._topic)
        self._writer = wire.Writer(
            "retraining", registry.register(subject, contract("retraining").text)
        )
        self.log = Log(stream.name)
        self._reader = wire.Reader(registry.schema)
        self._follower: Follower | None = None
        try:
            self._publisher.open()
            self._follower = Follower(kafka, self._topic, f"{stream.name}-retrain-log")
            for record in self._follower.to_end():
                self.log.add(_step(self._reader, value_of(record)))
            self.log.slim()
        except BaseException:
            self.close()
            raise

    def hear(self) -> None:
        """What people have asked for since; the rest of the topic is our own."""
        assert self._follower is not None, "not open"
        for record in self._follower.take(0.0):
            step = _step(self._reader, value_of(record))
            if step.status is Status.ASKED:
                self.log.add(step)

    def write(self, step: Step) -> Attempt:
        """Returns when it is durable. Raises ClientLost where another retrainer has taken over,
        DependencyUnavailable where nothing of it was written."""
        self.log.after(step)  # what cannot follow is never written
        key, value = step.key.encode(), self._writer.values([step])[0]
        self._publisher.note([Extra(self._topic, [0], [key], [value])])
        made = self.log.add(step)
        if step.status is Status.OVER:
            self.log.slim()
        return made

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._publisher.close()


def ask_for(
    stream: Stream, kafka: KafkaSettings, registry: Registry, make: Callable[[Log], Step]
) -> Step:
    """Write what a person asks for, beside the retrainer that runs: it fences nobody."""
    topic = stream.topic("retraining")
    step = make(read_log(stream, kafka, registry))
    schema_id = registry.register(subject_of(topic), contract("retraining").text)
    value = wire.Writer("retraining", schema_id).values([step])[0]
    publisher = _Repeating(
        kafka, ScorerSettings(slot=0), f"{stream.name}-retrain-ask", Route("", topic, "")
    )
    try:
        publisher.note([Extra(topic, [0], [step.key.encode()], [value])])
    finally:
        publisher.close()
    return step


def read_log(stream: Stream, kafka: KafkaSettings, registry: Registry) -> Log:
    """Everything that is on the topic now. Raises InvariantBroken where it contradicts itself."""
    log = Log(stream.name)
    reader = wire.Reader(registry.schema)
    with closing(
        Follower(kafka, stream.topic("retraining"), f"{stream.name}-retrain-log")
    ) as follower:
        for record in follower.to_end():
            log.add(_step(reader, value_of(record)))
    return log


def _step(reader: wire.Reader, value: bytes | None) -> Step:
    """Raises RecordRefused where it is none: without it nobody knows how far things came."""
    fields = reader.fields(value)
    try:
        return Step.of(fields)
    except (KeyError, TypeError, ValueError) as why:
        reason = f"not what its contract says: {type(why).__name__}"
        raise RecordRefused(Refused.VALIDATE, "not_its_contract", reason) from None
