"""Releases written on a broker that fences nobody."""

from __future__ import annotations

from pathlib import Path

from consumers.registry import Registry
from consumers.releases.log import publish_release, read_timeline
from millstream.releases.decide import Wanted, next_release
from millstream.releases.release import Release
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings, RegistrySettings
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.warehouses import stream_in
from tests.millstream.releases.made import model


def test_two_who_release_at_once_come_one_after_the_other(
    tmp_path: Path,
    topic_name: str,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
) -> None:
    """The second one's draft had not seen the first, which came between its reading and its
    writing: it has the next number all the same, and is made of what was released by then."""
    stream = stream_in(tmp_path, f"s{topic_name[-8:]}")
    embedded.create_topic(stream.topic("releases"), 1)
    registry = Registry(RegistrySettings(url=embedded_registry.url))
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    drafts = []

    def one(known: Timeline) -> Release:
        return next_release(known, stream.name, model("1"), Wanted("one", model("2")))

    def two(known: Timeline) -> Release:
        drafts.append(len(known.releases))
        if len(drafts) == 1:
            publish_release(stream, kafka, registry, one)
        return next_release(known, stream.name, model("1"), Wanted("two", model("3")))

    try:
        made = publish_release(stream, kafka, registry, two)
        known = read_timeline(stream, kafka, registry.schema)
    finally:
        registry.close()
    assert (made.id, made.number, drafts) == ("two", 2, [0, 1])
    assert [(each.id, each.number) for each in known.releases] == [("one", 1), ("two", 2)]
