"""The join under the loop, on the embedded broker: at least once, and its state is found again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from consumers.join import JoinAtLeastOnce, StateReader, Tally, run_join
from consumers.metrics.instruments import Live, installed
from millstream.errors import InvariantBroken
from millstream.matching import Joined
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import JoinSettings, RegistrySettings
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.crash.joins import PARTITIONS, JoinBed
from tests.millstream.matching.logs import matcher, prediction_values, records


@pytest.fixture
def bed(
    embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> Iterator[JoinBed]:
    """A stream on the mock cluster; it keeps no transactions, so none is aborted here."""
    name = f"j{abs(hash(tmp_path)) % 10**8}"
    made = JoinBed(tmp_path, name, embedded.bootstrap, embedded_registry.url, embedded=embedded)
    yield made
    made.stop()


class Life:
    """run_join in a thread of this process."""

    def __init__(self, bed: JoinBed) -> None:
        self.tally = Tally()
        self._stop = threading.Event()
        registry = RegistrySettings(url=bed.environment["MILLSTREAM_REGISTRY_URL"])
        settings = JoinSettings(transaction_records_max=100)
        arguments = (bed.stream, bed.kafka, registry, settings, self._stop, self._watch)
        self.store = Store("join")

        def run() -> None:
            with installed(Live(self.store, Health(lambda: 0.0, 10.0))):
                run_join(*arguments)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def _watch(self, tally: Tally) -> None:
        self.tally = tally

    def end(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_join_that_is_started_again_goes_on_where_it_was(bed: JoinBed) -> None:
    """It reads its state, and takes nothing twice: by their ids the records are what one long life
    makes of both topics."""
    bed.publish(150)
    first = Life(bed)
    bed.wait_for_all()
    first.end()
    assert first.tally.counts.predictions >= 150
    shown = first.store.value("millstream_join_records_total", status="labelled")
    assert shown == first.tally.counts.labelled > 0
    assert first.store.value("millstream_records_consumed_total", topic="predictions") >= 150
    second = Life(bed)
    bed.publish(150)
    bed.end()
    bed.wait_for_all()
    second.end()
    assert second.tally.restored >= 2
    assert second.tally.counts.predictions == 150 + PARTITIONS
    bed.assert_by_id()


def _store(bed: JoinBed, joined: Joined) -> None:
    """What a join has produced before it committed."""
    topics = bed.stream.topic("labelled"), bed.stream.topic("join_state")
    publisher = JoinAtLeastOnce(bed.kafka, JoinSettings(), "g", *topics)

    class NoGroup:
        """Commits nothing: the process died before."""

        def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
            assert not asynchronous

    publisher.join(joined, [], NoGroup())  # type: ignore[arg-type]
    publisher.close()


def test_a_state_that_is_behind_the_committed_offsets_stops_the_join(bed: JoinBed) -> None:
    """Once it was read often enough; unless it may be made anew."""
    made = matcher(partitions=1)
    _store(bed, made.take(records("p", prediction_values(["a", "b"]), [1, 2]), None))
    topic, naps = bed.stream.topic("join_state"), list[float]()
    reader = StateReader(bed.kafka, topic, rebuild=False, wait=naps.append)
    other = matcher(partitions=0)
    assert reader.restore(other, 0, (2, -1)) == 1
    assert (other.offsets(0), other.held) == ((2, -1), 2)
    with pytest.raises(InvariantBroken, match="ends before the offsets"):
        reader.restore(other, 0, (3, -1))
    assert len(naps) > 1
    assert other.partitions == frozenset()
    assert StateReader(bed.kafka, topic, rebuild=True).restore(other, 0, (3, -1)) == 1
