"""The topics of a stream: created with the right partitions, or named where they differ."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from consumers.kafka import KAFKA, kafka_error, require_broker, translate
from millstream.contracts import topic_table
from millstream.errors import ContractMismatch, DependencyUnavailable
from millstream.settings import KafkaSettings
from millstream.stream import Stream

TIMEOUT_S = 30.0
STRICT_CONFIG = ("cleanup.policy", "max.message.bytes")
"""What must be as schemas/topics.toml says; retention is the operator's choice."""


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """What is wrong with one topic, and what to do."""

    problem: str
    remedy: str
    is_optional: bool = False
    """Programs start in spite of it."""


def create_topics(stream: Stream, settings: KafkaSettings) -> list[str]:
    """Create what is missing; the names of the topics created. What exists is left as it is.

    Returns when the broker tells of them all. Raises SettingsInvalid where no broker answers,
    OperatorNeeded where it refuses.
    """
    admin = require_broker(settings)
    there = admin.list_topics(timeout=TIMEOUT_S).topics
    wanted = {topic.name(stream.name): topic for topic in topic_table().values()}
    new = [
        NewTopic(
            name,
            num_partitions=stream.serving.partitions,
            replication_factor=stream.serving.replication,
            config=topic.config,
        )
        for name, topic in wanted.items()
        if name not in there
    ]
    created = []
    for name, future in (
        admin.create_topics(new, operation_timeout=TIMEOUT_S).items() if new else ()
    ):
        try:
            future.result(timeout=TIMEOUT_S)
            created.append(name)
        except KafkaException as why:
            error = kafka_error(why)
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error, f"creating topic {name}") from why
    _await_topics(admin, set(wanted))
    return created


def _await_topics(admin: AdminClient, names: set[str]) -> None:
    """Return when brokers tell of these topics: they learn of them after their creation."""
    deadline = time.monotonic() + TIMEOUT_S
    while missing := names - set(admin.list_topics(timeout=TIMEOUT_S).topics):
        if time.monotonic() > deadline:
            raise DependencyUnavailable(
                KAFKA, f"{', '.join(sorted(missing))} was made, but no broker tells of it"
            )
        time.sleep(0.05)


def topic_problems(stream: Stream, admin: AdminClient) -> list[TopicProblem]:
    """Every way in which the stream's topics are not as its contracts say."""
    there = admin.list_topics(timeout=TIMEOUT_S).topics
    found = []
    present = []
    for topic in topic_table().values():
        name = topic.name(stream.name)
        if name not in there:
            remedy = f"Run `millstream topics {stream.path}`"
            problem = f"topic {name} does not exist"
            found.append(TopicProblem(problem, remedy, is_optional=topic.optional))
            continue
        present.append((name, topic.config))
        count = len(there[name].partitions)
        if count != stream.serving.partitions:
            found.append(
                TopicProblem(
                    f"topic {name} has {count} partitions, serving.partitions of {stream.path} is "
                    f"{stream.serving.partitions}: predictions go to their event's partition",
                    "Give every topic of the stream the same count and write it in stream.toml",
                )
            )
    for name, wanted in present:
        found += _config_problems(admin, name, wanted)
    return found


def require_topics(stream: Stream, settings: KafkaSettings, needed: Collection[str] = ()) -> None:
    """Raise ContractMismatch with the first problem. The embedded broker makes its own topics.

    needed: kinds of optional topics that the program cannot do without.
    """
    admin = require_broker(settings)
    if settings.embedded:
        return
    names = {stream.topic(kind) for kind in needed}
    for found in topic_problems(stream, admin):
        if not found.is_optional or any(name in found.problem.split() for name in names):
            raise ContractMismatch(found.problem, found.remedy)


def kinds_there(stream: Stream, settings: KafkaSettings) -> set[str]:
    """The kinds of the stream's topics that exist now. Raises SettingsInvalid without a broker."""
    there = require_broker(settings).list_topics(timeout=TIMEOUT_S).topics
    return {kind for kind, topic in topic_table().items() if topic.name(stream.name) in there}


def _config_problems(admin: AdminClient, name: str, wanted: dict[str, str]) -> list[TopicProblem]:
    resource = ConfigResource(ResourceType.TOPIC, name)
    try:
        entries = admin.describe_configs([resource])[resource].result(timeout=TIMEOUT_S)
    except KafkaException as why:
        raise translate(kafka_error(why), f"reading the settings of {name}") from why
    found = []
    for key in STRICT_CONFIG:
        if key not in wanted or key not in entries:
            continue
        value = entries[key].value
        short = key == "max.message.bytes" and int(value) < int(wanted[key])
        if short or (key == "cleanup.policy" and value != wanted[key]):
            setting = f"{key}={wanted[key]}"
            found.append(
                TopicProblem(
                    f"topic {name} has {key}={value}, it must be {wanted[key]}",
                    f"Set it: kafka-configs --alter --topic {name} --add-config {setting}",
                )
            )
    return found
