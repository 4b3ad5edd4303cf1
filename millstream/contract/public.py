"""Which topics are for other teams, and what is promised of each, in words.

A topic that is not here is Millstream's own: its records may change without notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic that other teams write or read.

    kind: its key in schemas/topics.toml. direction: in is written by them, out is read by them.
    subject: of its contract in schemas/; None for the stream's own event schema. key: what the
    Kafka key is. order: which records stand in which order. guarantee: how often a record comes.
    retention is in topics.toml.
    """

    kind: str
    direction: Literal["in", "out"]
    title: str
    subject: str | None
    summary: str
    key: str
    order: str
    guarantee: str

    @property
    def of_scorer(self) -> bool:
        """Whether a scorer writes it: then the stream's guarantee is how often a record comes."""
        return self.kind in ("predictions", "dead_letters", "shadows")


_ONCE: Final = "Exactly once under isolation.level read_committed."
REPEATED: Final = (
    "At least once: after a crash a record may come again; source_topic, source_partition and "
    "source_offset tell which event it is of."
)
"""Of what a scorer writes, where the stream's guarantee is at_least_once."""
_ONCE_OR_MORE: Final = (
    "Exactly once from a writer that was not killed; a repeat has the same id and says the same."
)
_OF_EVENT: Final = "On the partition number of its event"

CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        "events",
        "in",
        "Event",
        None,
        "What is to be scored. Producers write it; each event gets one prediction or one dead "
        "letter.",
        "UTF-8 text of the key field. Hash it as Kafka's Java clients do (murmur2; librdkafka: "
        "partitioner=murmur2_random).",
        "Events of one key are answered in their order.",
        "An event that is published twice is two events: use an idempotent producer.",
    ),
    Channel(
        "outcomes",
        "in",
        "Outcome",
        "outcome",
        "What turned out to be true of an event. It may come late, twice, be corrected, or never "
        "come.",
        "UTF-8 text of the event's key, so that it lands on the event's partition.",
        "Any; of two outcomes of one event the one that was known later holds.",
        "Repeats and corrections are welcome.",
    ),
    Channel(
        "predictions",
        "out",
        "Prediction",
        "prediction",
        "One model's answer to one event.",
        "The event's own key, byte for byte.",
        f"{_OF_EVENT}, in the order of the events.",
        f"{_ONCE} Each event has one prediction or one dead letter.",
    ),
    Channel(
        "dead_letters",
        "out",
        "DeadLetter",
        "dead_letter",
        "An event that was refused: its own key, value and headers, and why in further headers. "
        "Its bytes may be anything.",
        "The event's own key, byte for byte.",
        f"{_OF_EVENT}, in the order of the events.",
        f"{_ONCE} Each event has one prediction or one dead letter.",
    ),
    Channel(
        "labelled",
        "out",
        "Labelled",
        "labelled",
        "A prediction with what became of it: its outcome, a correction, or that none came.",
        "The event's key field, as text.",
        f"{_OF_EVENT}; versions of one prediction ascend.",
        _ONCE,
    ),
    Channel(
        "drift",
        "out",
        "Drift",
        "drift",
        "A measurement of a drift detector, or its alarm.",
        "None.",
        f"{_OF_EVENT}, in the order of the events of a partition.",
        _ONCE_OR_MORE,
    ),
    Channel(
        "incidents",
        "out",
        "Incident",
        "incident",
        "An incident with its verdict: opened, updated or resolved.",
        "The incident's id.",
        "Revisions of one incident ascend.",
        _ONCE_OR_MORE,
    ),
    Channel(
        "alarms",
        "out",
        "Alarm",
        "alarm",
        "An alarm that began to fire, changed, or was resolved.",
        "The alarm's id.",
        "Revisions of one alarm ascend.",
        _ONCE_OR_MORE,
    ),
    Channel(
        "releases",
        "out",
        "Release",
        "release",
        "Which models answer: a release, its switch at an exact offset of each partition, or its "
        "failure to load.",
        "The release's id; a switch's and a failure's follow it with a slash.",
        "Numbers of releases ascend.",
        "Kept for ever; the same key says the same.",
    ),
    Channel(
        "shadows",
        "out",
        "Shadow",
        "shadow",
        "What a model that did not answer an event would have said.",
        "The event's own key, byte for byte.",
        f"{_OF_EVENT}, in the order of the events.",
        _ONCE,
    ),
    Channel(
        "decisions",
        "out",
        "Decision",
        "decision",
        "What was decided between two models that scored the same events, and by what evidence.",
        "The decision's id.",
        "Any.",
        "The same decision on the same rows has the same id.",
    ),
    Channel(
        "retraining",
        "out",
        "Retraining",
        "retraining",
        "A stage of a retraining began or ended.",
        "ATTEMPT/STAGE/STATUS.",
        "Stages of one attempt stand in their order.",
        "Kept for ever; a stage that a killed program had started comes again under the same key.",
    ),
)
INTERNAL: Final = frozenset({"redrives", "silences", "join_state", "watch_state"})
"""Kinds of topics that are nobody else's."""

HEADERS: Final[dict[str, tuple[str, str]]] = {
    "millstream.model": (
        "Version and digest of the model that answered, with a blank between them.",
        "3 sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    ),
    "millstream.replay.of": (
        "Of an event that was published again after a dead letter: TOPIC/PARTITION/OFFSET of the "
        "event that it repeats.",
        "loans.events/2/812",
    ),
    "millstream.replay.origin": (
        "The same, of the event that its producer wrote, over all attempts.",
        "loans.events/2/812",
    ),
    "traceparent": (
        "W3C Trace Context: an event's trace is gone on with, and its prediction carries it on.",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
}
"""Header -> what it says, and an example."""

CARRIED: Final[dict[str, tuple[str, ...]]] = {
    "events": ("millstream.replay.of", "millstream.replay.origin", "traceparent"),
    "predictions": ("millstream.model", "traceparent"),
}
"""Kind of topic -> the headers that its records may have; dead letters': their own contract."""
