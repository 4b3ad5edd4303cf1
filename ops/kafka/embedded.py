"""The embedded broker: librdkafka's mock cluster, in this process, up in milliseconds."""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Self

from confluent_kafka import cimpl

from millstream.errors import DependencyUnavailable, OperatorNeeded

PARTITIONS_DEFAULT = 4
_PRODUCER = 0
_TOPIC_ALREADY_EXISTS = 36
_TEXT_BYTES = 512


class EmbeddedBroker:
    """A Kafka in memory for demos and quick tests, reachable by every process of this machine.

    What it does: topics, keys, headers, consumer groups with rebalances, idempotent producers,
    transactional producers (begin, produce, commit and abort succeed).

    What it does not, so that no guarantee may be tested or promised on it:

    * a consumer sees the records of aborted transactions, ``read_committed`` or not;
    * offsets sent with a transaction are accepted and forgotten; plain commits are kept;
    * an older producer with the same ``transactional.id`` is not fenced;
    * a partition keeps its newest 5 MB or so, and forgets the rest without a word: a consumer that
      falls behind loses records;
    * no CreateTopics, no configs, no compaction, nothing on disk.

    A topic comes to be when a client first asks for it, with PARTITIONS_DEFAULT partitions. That
    number is fixed in librdkafka and no setting changes it; create_topic() makes a topic with
    another number, before its first use. (It speaks to librdkafka's C interface, since the Python
    client wraps none of this.)
    """

    def __init__(self) -> None:
        self._library = _declared(ctypes.CDLL(cimpl.__file__))  # finds librdkafka behind it
        self._client: int | None = None
        self._cluster: int | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:PORT``."""
        assert self._bootstrap, "the embedded broker was never started"
        return self._bootstrap

    def start(self) -> Self:
        """Start it. Raises DependencyUnavailable: librdkafka cannot (no free port, no memory)."""
        assert self._cluster is None, "the embedded broker is running"
        said = ctypes.create_string_buffer(_TEXT_BYTES)
        conf = self._library.rd_kafka_conf_new()
        # a client of no cluster, only there to own the mock; its warning about that is noise
        self._library.rd_kafka_conf_set(conf, b"log_level", b"0", said, _TEXT_BYTES)
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, said, _TEXT_BYTES)
        if not self._client:
            self._client = None
            raise DependencyUnavailable("embedded Kafka", said.value.decode())
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self.stop()
            raise DependencyUnavailable("embedded Kafka", "librdkafka makes no mock cluster")
        # else a group's first member waits 3 s for others
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self._bootstrap = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic with so many partitions.

        Raises OperatorNeeded: it is there already (a client may have asked for it, which made it
        with PARTITIONS_DEFAULT), or the number is not positive.
        """
        assert self._cluster is not None, "the embedded broker is not running"
        if partitions < 1:
            raise OperatorNeeded(f"topic {topic}: {partitions} partitions", "Ask for 1 or more")
        code = self._library.rd_kafka_mock_topic_create(
            self._cluster, topic.encode(), partitions, 1
        )
        if code == _TOPIC_ALREADY_EXISTS:
            raise OperatorNeeded(
                f"topic {topic} is on the embedded broker already",
                "Create it before any client asks for it",
            )
        if code != 0:
            raise DependencyUnavailable("embedded Kafka", f"create topic {topic}: error {code}")

    def stop(self) -> None:
        """End it; every record on it is gone. Harmless when repeated."""
        if self._cluster is not None:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        if self._client is not None:
            self._library.rd_kafka_destroy(self._client)
        self._cluster = self._client = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the argument types of what is called here (rdkafka.h, rdkafka_mock.h)."""
    opaque, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    number = ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", opaque, []),
        ("rd_kafka_conf_set", number, [opaque, text, text, text, size]),
        ("rd_kafka_new", opaque, [number, opaque, text, size]),
        ("rd_kafka_destroy", None, [opaque]),
        ("rd_kafka_mock_cluster_new", opaque, [opaque, number]),
        ("rd_kafka_mock_cluster_destroy", None, [opaque]),
        ("rd_kafka_mock_cluster_bootstraps", text, [opaque]),
        ("rd_kafka_mock_topic_create", number, [opaque, text, number, number]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [opaque, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
