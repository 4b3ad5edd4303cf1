"""What the simulation has found, each as a test of its own that needs no luck."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from consumers.publishers import SLOW_COMMIT_S, ExactlyOnce, Extra, Output, Route
from millstream.doubles.broker import Kafka
from millstream.doubles.consumer import MemoryConsumer
from millstream.doubles.producer import MemoryProducer
from millstream.errors import DependencyUnavailable
from millstream.settings import KafkaSettings, ScorerSettings
from tests.simulation.programs import NoWatchdog


class Forgetful(MemoryConsumer):
    """Does not know its group just now."""

    def consumer_group_metadata(self) -> Any:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))


def test_no_error_leaves_a_transaction_open() -> None:
    """Not only an abortable error of a transaction call: the group's metadata could not be read,
    the scorer polled on, another one took its partition, and every reader stood still (seed 78)."""
    kafka = Kafka(lambda: 0.0, lambda seconds: None)
    for topic in ("e", "p", "d"):
        kafka.create_topic(topic, 1)

    def client(config: dict[str, Any]) -> Producer:
        return cast(Producer, MemoryProducer(kafka, config))

    publisher = ExactlyOnce(
        KafkaSettings(), ScorerSettings(), "g", Route("e", "p", "d"), client, NoWatchdog()
    )
    publisher.open()
    output = Output([0], [b"key"], [b"prediction"], [], {0: 1})
    consumer = cast(Consumer, Forgetful(kafka, {"group.id": "g"}))
    with pytest.raises(DependencyUnavailable, match="reading the group"):
        publisher.publish(output, consumer)
    assert kafka.slots["g-0"].open is None
    log = kafka.logs[("p", 0)]
    assert log.stable_end == log.end and log.visible() == []
    member = MemoryConsumer(kafka, {"group.id": "g"})
    member.subscribe(["e"])
    member.poll(0)
    publisher.publish(output, cast(Consumer, member))
    assert len(log.visible()) == 1


def test_a_slow_commit_of_a_note_replaces_the_producer_too() -> None:
    """Its late EndTxn would commit half of the next batch: a dead letter came twice (seed 74)."""
    times = iter([0.0, SLOW_COMMIT_S + 1, 10.0, 10.0])
    kafka = Kafka(lambda: 0.0, lambda seconds: None)
    kafka.create_topic("r", 1)

    def client(config: dict[str, Any]) -> Producer:
        return cast(Producer, MemoryProducer(kafka, config))

    publisher = ExactlyOnce(
        KafkaSettings(),
        ScorerSettings(),
        "g",
        Route("e", "p", "d"),
        client,
        NoWatchdog(),
        lambda: next(times),
    )
    publisher.open()
    before = kafka.slots["g-0"].epoch
    for _ in range(2):
        publisher.note([Extra("r", [0], [b"key"], [b"failed"])])
    assert kafka.slots["g-0"].epoch == before + 1
    assert len(kafka.logs[("r", 0)].visible()) == 2
