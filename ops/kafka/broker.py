"""A real Apache Kafka on this machine: one KRaft node, up in seconds, gone with its starter."""

from __future__ import annotations

import logging
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from millstream.errors import OperatorNeeded
from ops.kafka.fetch import fetch_kafka, java
from ops.kafka.service import Service
from ops.process import Child, listening

RECORD_BYTES_MAX = 10 * 1024 * 1024
START_TIMEOUT_S = 90.0
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_LOG4J = Path(__file__).with_name("log4j2.xml")

_silent = logging.getLogger("ops.kafka.broker.client")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


class Broker(Service):
    """One Kafka node with transactions, KIP-848 consumer groups and no automatic topics.

    ::

        with Broker() as kafka:
            producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap})

    data: the folder of its log, kept at stop(); None makes a temporary one, removed at stop().
    port: the clients' port on 127.0.0.1; 0 finds a free one.
    heap_mb: too low and it dies of memory under load; too high and it starves its neighbours.
        256 carries the tests; benches want 1,024.
    settings: lines of server.properties that replace or add to ours, such as
        ``{"group.consumer.session.timeout.ms": "6000"}`` (the least that is allowed here).

    Records may be up to RECORD_BYTES_MAX bytes; the producer's own ``message.max.bytes`` must be
    raised too. Not for power loss: a kill loses nothing, since the page cache survives it.
    """

    name: ClassVar[str] = "Kafka"
    inner_ports: ClassVar[int] = 1  # the controller's

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int = 0,
        heap_mb: int = 256,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data, port)
        self._heap_mb = heap_mb
        self._settings = dict(settings or {})

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:PORT``; the same after a restart."""
        return f"127.0.0.1:{self.port}"

    def _launch(self) -> Child:
        jars = fetch_kafka()
        properties = self.data / "server.properties"
        lines = {**self._properties(), **self._settings}
        properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        log = self.data / "server.log"
        jvm = [
            java(),
            *_JVM,
            f"-Xmx{self._heap_mb}m",
            f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}",
            f"-Dmillstream.log={log}",
            "-cp",
            f"{jars}/*",
        ]
        if not (self.data / "log" / "meta.properties").exists():
            self._format(jvm, properties)
        child = Child(
            self.name,
            [*jvm, "kafka.Kafka", str(properties)],
            log=self.data / "console.log",
            logs=[log],
        )
        child.wait_until(self._answers, timeout_s=START_TIMEOUT_S)
        return child

    def _format(self, jvm: list[str], properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if cluster.startswith("-"):  # the argument parser takes it for an option
            cluster = "A" + cluster[1:]
        argv = [*jvm, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if run.returncode != 0:
            said = (run.stdout + run.stderr).strip()[-1000:]
            raise OperatorNeeded(
                f"Kafka cannot format its storage in {self.data}: {said}",
                "Name an empty folder on a disk that has room",
            )

    def _answers(self) -> bool:
        if not listening(self._port):
            return False
        client = AdminClient({"bootstrap.servers": self.bootstrap}, logger=_silent)
        try:
            return bool(client.list_topics(timeout=2.0).brokers)
        except KafkaException:
            return False

    def _properties(self) -> dict[str, str]:
        clients = f"PLAINTEXT://{self.bootstrap}"
        controller = f"127.0.0.1:{self._inner[0]}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"{clients},CONTROLLER://{controller}",
            "advertised.listeners": clients,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.data / "log"),
            "auto.create.topics.enable": "false",
            # one node: no replicas of anything, and few partitions for Kafka's own topics,
            # whose creation is most of the first commit's time
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            # after a kill the node is not let in again before its old session has run out: with
            # Kafka's own 9 s a restart took 11.7 s
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.consumer.min.session.timeout.ms": "6000",
            "group.consumer.min.heartbeat.interval.ms": "1000",
            "message.max.bytes": str(RECORD_BYTES_MAX),
            "replica.fetch.max.bytes": str(RECORD_BYTES_MAX),
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # 128 MB of heap otherwise
        }
