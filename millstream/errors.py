"""Every error Millstream raises; its name says who must act.

    MillstreamError
    ├── RecordRefused            the record is bad: it becomes a dead letter, its neighbours go on
    ├── DependencyUnavailable    the world is bad: keep the record, wait, try again
    │   └── ClientLost           a client is beyond repair: leave the process, be started again
    └── OperatorNeeded           a person must act: refuse to start (exit code 2)
        ├── StreamInvalid        stream.toml, or a file it names
        ├── SettingsInvalid      an environment variable or an option
        ├── BundleInvalid        a model bundle
        ├── ContractMismatch     two parts that do not fit: schema, model, topic, table
        ├── InvariantBroken      stored state contradicts the protocol: stop before it gets worse
        └── TooManyRefusals      a stream is refused as a whole: stop before it is all dead letters

Anything else that is raised is a bug, and crashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Stage(StrEnum):
    """Where on its way a record was refused."""

    FRAME = "frame"  # too large, not in Confluent's wire format, or of an unknown schema id
    DECODE = "decode"  # the bytes are not what the schema says
    VALIDATE = "validate"  # decoded, but a value is not allowed (null, NaN, out of range)
    SCORE = "score"  # the model refused it, or its answer is not a number
    ENCODE = "encode"  # its prediction could not be written


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one row of a batch cannot be scored.

    row: position in the batch, counted from 0.
    stage: where it stopped.
    name: a short stable word for grouping, such as ``unknown_schema_id``.
    reason: one sentence for people; it never quotes the record's values.
    """

    row: int
    stage: Stage
    name: str
    reason: str


class MillstreamError(Exception):
    """The root; never raised itself."""

    exit_code: ClassVar[int] = 1


class RecordRefused(MillstreamError):
    """One record is bad. Raised only where a single record is handled; batches use Refusal."""

    def __init__(self, stage: Stage, name: str, reason: str) -> None:
        super().__init__(f"{stage}: {name}: {reason}")
        self.stage = stage
        self.name = name
        self.reason = reason


class DependencyUnavailable(MillstreamError):
    """Kafka, ClickHouse or the registry does not answer, or says: later."""

    exit_code = 3

    def __init__(self, dependency: str, reason: str) -> None:
        super().__init__(f"{dependency}: {reason}")
        self.dependency = dependency
        self.reason = reason


class ClientLost(DependencyUnavailable):
    """A client that can only be replaced: fenced, fatal, or in an unknown state."""


class OperatorNeeded(MillstreamError):
    """Refuse to start. One line names the thing, the next the remedy.

    problem: what is wrong, naming the file, key, topic or table.
    remedy: what to change or run.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class StreamInvalid(OperatorNeeded):
    """stream.toml, or a file that it names, cannot be used."""


class SettingsInvalid(OperatorNeeded):
    """An environment variable or a command-line option cannot be used."""


class BundleInvalid(OperatorNeeded):
    """A model bundle is missing, damaged, or not what its card says."""


class ContractMismatch(OperatorNeeded):
    """Two parts do not fit each other: schema and model, topic and partitions, table and rows."""


class InvariantBroken(OperatorNeeded):
    """What is stored contradicts the protocol; going on could lose or double rows.

    Its exit code tells a supervisor not to start the program again by itself.
    """

    exit_code = 4


class TooManyRefusals(OperatorNeeded):
    """More events are refused than the scorer's limits allow; the batch was not committed.

    Its exit code tells a supervisor not to start the program again by itself: each start would
    divert some more.
    """

    exit_code = 4
