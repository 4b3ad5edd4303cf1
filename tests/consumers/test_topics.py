"""The topics of a stream on a real Kafka."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from consumers.topics import create_topics, kinds_there, require_topics, topic_problems
from millstream.contracts import topic_table
from millstream.errors import ContractMismatch, SettingsInvalid
from millstream.settings import KafkaSettings
from millstream.stream import Stream
from ops.kafka.broker import Broker
from ops.kafka.embedded import EmbeddedBroker
from tests.streams import LOANS

WAIT_S = 30.0


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """A stream of 3 partitions whose topics no other test has."""
    shutil.copy(LOANS / "event.v1.avsc", tmp_path / "event.v1.avsc")
    text = (LOANS / "stream.toml").read_text("utf-8")
    text = text.replace('name = "loans"', f'name = "s{uuid.uuid4().hex[:8]}"', 1)
    (tmp_path / "stream.toml").write_text(text.replace("partitions = 4", "partitions = 3"))
    return Stream.load(tmp_path / "stream.toml")


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    """How to reach the broker."""
    return KafkaSettings(bootstrap=kafka.bootstrap)


@pytest.fixture
def admin(kafka: Broker) -> AdminClient:
    """A client that is not ours."""
    return AdminClient({"bootstrap.servers": kafka.bootstrap})


def _names(stream: Stream) -> set[str]:
    return {topic.name(stream.name) for topic in topic_table().values()}


def test_missing_topics_are_made_as_the_table_says(
    stream: Stream, settings: KafkaSettings, admin: AdminClient
) -> None:
    """With the stream's partitions and the table's settings; then nothing is wrong with them."""
    assert set(create_topics(stream, settings)) == _names(stream)
    there = admin.list_topics(timeout=WAIT_S).topics
    for topic in topic_table().values():
        name = topic.name(stream.name)
        assert len(there[name].partitions) == 3
        resource = ConfigResource(ResourceType.TOPIC, name)
        entries = admin.describe_configs([resource])[resource].result(WAIT_S)
        assert {key: entries[key].value for key in topic.config} == topic.config
    assert topic_problems(stream, admin) == []
    require_topics(stream, settings)


def test_what_is_there_is_left_as_it_is(
    stream: Stream, settings: KafkaSettings, admin: AdminClient
) -> None:
    """Making them again makes nothing; one that was made otherwise keeps its partitions."""
    events = stream.topic("events")
    admin.create_topics([NewTopic(events, 5)])[events].result(WAIT_S)
    assert set(create_topics(stream, settings)) == _names(stream) - {events}
    assert create_topics(stream, settings) == []
    assert len(admin.list_topics(timeout=WAIT_S).topics[events].partitions) == 5


def test_a_missing_topic_is_named(
    stream: Stream, settings: KafkaSettings, admin: AdminClient
) -> None:
    """Each of them, with the command that makes it."""
    problems = topic_problems(stream, admin)
    assert {p.problem for p in problems} == {f"topic {n} does not exist" for n in _names(stream)}
    assert {p.remedy for p in problems} == {f"Run `millstream topics {stream.path}`"}
    with pytest.raises(ContractMismatch, match="does not exist"):
        require_topics(stream, settings)


def test_a_stream_of_an_older_version_starts_without_the_topics_that_came_later(
    stream: Stream, settings: KafkaSettings, admin: AdminClient
) -> None:
    """`check` names them; a program that needs one says so, and nobody else."""
    old = [topic for topic in topic_table().values() if not topic.optional]
    made = [NewTopic(topic.name(stream.name), 3, config=topic.config) for topic in old]
    for future in admin.create_topics(made, operation_timeout=WAIT_S).values():
        future.result(WAIT_S)
    assert kinds_there(stream, settings) == {topic.kind for topic in old}
    assert topic_problems(stream, admin)
    require_topics(stream, settings)
    with pytest.raises(ContractMismatch, match=rf"{stream.name}\.labelled does not exist"):
        require_topics(stream, settings, ["labelled"])
    create_topics(stream, settings)
    require_topics(stream, settings, ["labelled"])
    assert kinds_there(stream, settings) == set(topic_table())


def test_a_wrong_partition_count_is_named(
    stream: Stream, settings: KafkaSettings, admin: AdminClient
) -> None:
    """With both numbers: a prediction could not go to its event's partition."""
    name = stream.topic("predictions")
    config = topic_table()["predictions"].config
    admin.create_topics([NewTopic(name, 2, config=config)])[name].result(WAIT_S)
    create_topics(stream, settings)
    (problem,) = topic_problems(stream, admin)
    assert f"topic {name} has 2 partitions, serving.partitions of" in problem.problem
    assert "is 3: predictions go to their event's partition" in problem.problem


@pytest.mark.parametrize(
    ("kind", "key", "value", "wrong"),
    [
        ("dead_letters", "max.message.bytes", "1048588", True),
        ("dead_letters", "max.message.bytes", "10485760", False),
        ("events", "cleanup.policy", "compact", True),
        ("events", "retention.ms", "1000", False),
    ],
)
def test_a_setting_that_breaks_a_promise_is_named(
    stream: Stream, settings: KafkaSettings, admin: AdminClient,
    kind: str, key: str, value: str, wrong: bool,
) -> None:  # fmt: skip
    """A topic too small for its letters, or one that forgets events; what the operator may choose
    is no problem."""
    name = stream.topic(kind)
    config = topic_table()[kind].config | {key: value}
    admin.create_topics([NewTopic(name, 3, config=config)])[name].result(WAIT_S)
    create_topics(stream, settings)
    problems = topic_problems(stream, admin)
    assert len(problems) == wrong
    for problem in problems:
        wanted = topic_table()[kind].config[key]
        assert problem.problem == f"topic {name} has {key}={value}, it must be {wanted}"
        assert f"--topic {name} --add-config {key}={wanted}" in problem.remedy


def test_the_embedded_broker_makes_its_own_topics(stream: Stream) -> None:
    """So nothing is asked of it."""
    with EmbeddedBroker() as broker:
        require_topics(stream, KafkaSettings(bootstrap=broker.bootstrap, embedded=True))


def test_no_broker_is_the_operators(stream: Stream) -> None:
    """The address is named, and what to do."""
    with pytest.raises(SettingsInvalid, match=r"no Kafka broker answers at 127\.0\.0\.1:1"):
        require_topics(stream, KafkaSettings(bootstrap="127.0.0.1:1"))
