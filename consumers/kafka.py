"""Clients of librdkafka: how they are configured, and the one place where its errors are read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from millstream.errors import (
    ClientLost,
    DependencyUnavailable,
    MillstreamError,
    OperatorNeeded,
    SettingsInvalid,
)
from millstream.settings import KafkaSettings

KAFKA = "Kafka"
RECORD_BYTES_MAX = 10_485_760
"""Above the largest max.message.bytes of schemas/topics.toml."""

_log = logging.getLogger(__name__)
_ASK_OPERATOR = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._INVALID_ARG,
    KafkaError.INVALID_TRANSACTION_TIMEOUT,
}
_FATAL = {KafkaError._FENCED, KafkaError._FATAL}
"""A consumer's fatal error comes as a record whose error has this code and not the flag; nothing
comes after it, so that going on would be to wait for ever."""


class TransactionAborted(DependencyUnavailable):
    """The transaction must be aborted and its records read again; the client is still good."""


def connection(settings: KafkaSettings, errors: ConnectionErrors | None = None) -> dict[str, Any]:
    """What every client needs to reach the broker."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "security.protocol": settings.security_protocol,
        "allow.auto.create.topics": settings.embedded,
        "error_cb": errors or ConnectionErrors(),
        "log_level": 3,
    }
    secret = settings.sasl_password
    options = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": secret.get_secret_value() if secret else None,
        "ssl.ca.location": settings.ssl_ca_location,
    }
    return config | {name: value for name, value in options.items() if value is not None}


def consumer_config(
    settings: KafkaSettings, group: str, member: str, commits_itself: bool = False
) -> dict[str, Any]:
    """A consumer of a group. Offsets are stored by whoever finishes the records, never by itself.

    commits_itself: what is stored is committed every 100 ms and when the consumer leaves. A commit
    for each small batch is slower than the batch: the broker takes 6 ms, one after the other.

    The queue holds 16 MB and 20,000 records at most; a fetch that filled it is asked for again
    after 5 ms (the default, 1 s, stalls a fast consumer).
    """
    config = connection(settings) | {
        # A broker that hung or was cut off may answer that there is no broker; without this the
        # client then has nobody left to ask and waits for ever (5 of 12 did).
        "metadata.recovery.strategy": "rebootstrap",
        "group.id": group,
        "client.id": member,
        "enable.auto.commit": commits_itself,
        "auto.commit.interval.ms": 100,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": 16_384,
        "queued.min.messages": 20_000,
        "fetch.queue.backoff.ms": 5,
        "fetch.message.max.bytes": 1_048_576,
        "message.max.bytes": RECORD_BYTES_MAX,
        "receive.message.max.bytes": 100_000_000,
        # the mock answers a waiting fetch only when its time is up, a broker when records come
        "fetch.wait.max.ms": 10 if settings.embedded else 100,
        "group.protocol": settings.group_protocol,
        "max.poll.interval.ms": 300_000,
        # A static member that leaves in order or is killed, and is started again, has its
        # partitions back at once: a rolling restart moves none (with KIP-848's dynamic members one
        # moved three times). The price: one that is gone for good is missed only after its session;
        # and KIP-848 lets a killed one's successor in no sooner: until then it exits with code 3.
        "group.instance.id": member,
    }
    if settings.group_protocol == "classic":
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": settings.session_timeout_ms,
            "heartbeat.interval.ms": min(1_000, settings.session_timeout_ms // 3),
        }
    else:  # session and heartbeat are the broker's to say
        config["group.remote.assignor"] = "uniform"
    return config


def producer_config(settings: KafkaSettings, client: str) -> dict[str, Any]:
    """An idempotent producer; keys are hashed as Java's clients hash them.

    `metadata.recovery.strategy=none`: with the default, a reset of the only broker's connection
    can hang a transaction call for ever (librdkafka #5511).
    """
    return connection(settings) | {
        "metadata.recovery.strategy": "none",
        "client.id": client,
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        # A transaction that begins while the broker still writes the last one's markers is told to
        # come again: after the default, 100 ms, each batch under load was 100 ms late. It doubles
        # with every attempt, up to the default.
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 100,
        "batch.num.messages": 10_000,
        "batch.size": 1_000_000,
        "compression.type": "lz4",
        # topics are made before the programs start: a missing one is told soon, not after 30 s
        "topic.metadata.propagation.max.ms": 5_000,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 262_144,
        "message.max.bytes": RECORD_BYTES_MAX,
    }


class ConnectionErrors:
    """error_cb: remembers what librdkafka says of the connection; never raises.

    With a wrong password every call only says "transport failure"; the cause is told here.
    """

    def __init__(self) -> None:
        self.last: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        self.last = error
        _log.debug("librdkafka: %s", error)


def translate(error: KafkaError, doing: str) -> MillstreamError:
    """librdkafka's error as one of ours, decided by its code and flags."""
    text = f"{error.str()} while {doing}"
    if error.fatal() or error.code() in _FATAL:
        return ClientLost(KAFKA, f"{text} ({error.name()}); the process must be started again")
    if error.txn_requires_abort():
        return TransactionAborted(KAFKA, text)
    if error.code() in _ASK_OPERATOR:
        return OperatorNeeded(
            f"Kafka refused {doing}: {error.str()}",
            "Run `millstream check` on the stream: it names the topic, right or setting at fault",
        )
    return DependencyUnavailable(KAFKA, text)


def ask(doing: str, call: Callable[[], Any]) -> Any:
    """The result of `call()`, with librdkafka's exceptions translated."""
    try:
        return call()
    except KafkaException as why:
        raise translate(kafka_error(why), doing) from why


def kafka_error(exception: KafkaException) -> KafkaError:
    """The error that an exception carries; one with a bare text becomes a local failure."""
    cause = exception.args[0]
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError._FAIL, str(cause))


def require_broker(settings: KafkaSettings, timeout_s: float = 10.0) -> AdminClient:
    """An admin client of a broker that answered. Raises SettingsInvalid where none does."""
    errors = ConnectionErrors()
    config = connection(settings, errors) | {"socket.timeout.ms": int(timeout_s * 1000)}
    admin = AdminClient(config)
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException as why:
        admin.poll(0)
        cause = errors.last or kafka_error(why)
        raise SettingsInvalid(
            f"no Kafka broker answers at {settings.bootstrap}: {cause.str()}",
            "Start one (`make kafka`) or set MILLSTREAM_KAFKA_BOOTSTRAP",
        ) from None
    return admin
