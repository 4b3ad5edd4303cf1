"""Faust's Kafka transport, reading committed records only.

Faust 0.15 reads uncommitted unless its own transactions are on, which double and lose (RELIABILITY
section 4): predictions of a scorer's aborted transaction would be taken for real.
"""

from __future__ import annotations

from typing import Any, ClassVar

from faust.transport.drivers import aiokafka as driver


class CommittedThread(driver.AIOKafkaConsumerThread):
    """The worker's consumer, with isolation_level read_committed."""

    def _create_worker_consumer(self, transport: driver.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # read by the fetcher, which is made when the consumer starts
        assert consumer._isolation_level == "read_uncommitted", consumer._isolation_level
        consumer._isolation_level = "read_committed"
        return consumer


class CommittedConsumer(driver.Consumer):
    """Faust's consumer over that thread."""

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(driver.Transport):
    """For `app.transport`, with the broker's URL."""

    Consumer: ClassVar[Any] = CommittedConsumer


def read_committed(app: Any) -> None:
    """Make this app's consumer read committed records only; before it starts."""
    app.transport = CommittedTransport(app.conf.broker_consumer, app)
