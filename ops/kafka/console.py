"""Kafka's own console consumer: what a client that is not ours sees on a topic.

It is safe for bytes: keys, values and header values go through Kafka's ``BytesDeserializer``,
which prints every byte outside printable ASCII, and the backslash, as ``\\xHH``.
"""

from __future__ import annotations

import re
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from millstream.errors import DependencyUnavailable, OperatorNeeded
from ops.kafka.fetch import fetch_kafka, java

_BYTES = "org.apache.kafka.common.serialization.BytesDeserializer"
_LOG4J = Path(__file__).with_name("log4j2-stderr.xml")  # stdout is for records
_FIELD, _HEADER = "\x1f", "\x1e"  # control characters never occur in what it prints
_ESCAPE = re.compile(rb"\\x([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class ConsoleRecord:
    """One record as the console consumer printed it; None is Kafka's null.

    timestamp_ms: milliseconds since 1970, as the record says.
    headers: names and values in their order.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def console_consume(
    bootstrap: str,
    topic: str,
    *,
    records_max: int | None = None,
    idle_ms: int = 8_000,
    timeout_s: float = 120.0,
    isolation: str = "read_committed",
) -> list[ConsoleRecord]:
    """Read a topic from its beginning, in the order in which the partitions answer.

    records_max: stop after so many; None reads until the topic is silent.
    idle_ms: the silence after which it stops. Too low and it stops before its group has formed
        (4 s on a fresh broker, more on a busy machine); too high and each call lasts longer.
    timeout_s: the limit for the whole run.
    Raises OperatorNeeded: there is no such topic (the program itself would wait, and print
    nothing). DependencyUnavailable: it failed or took too long; the error quotes it.
    """
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=timeout_s).topics
    if topic not in topics:
        raise OperatorNeeded(f"topic {topic} is not on {bootstrap}", "Create it, or correct it")
    argv = [
        java(), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={_LOG4J.as_uri()}", "-cp", f"{fetch_kafka()}/*",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning",
        "--isolation-level", isolation, "--timeout-ms", str(idle_ms),
    ]  # fmt: skip
    # The null literal goes through the deserializer like any value: only one that nobody can have
    # published tells null from bytes.
    null = uuid.uuid4().hex
    if records_max is not None:
        argv += ["--max-messages", str(records_max)]
    shown = {
        "print.partition": "true", "print.offset": "true", "print.timestamp": "true",
        "print.headers": "true", "print.key": "true", "print.value": "true",
        "key.separator": _FIELD, "headers.separator": _HEADER, "null.literal": null,
        "key.deserializer": _BYTES, "value.deserializer": _BYTES, "headers.deserializer": _BYTES,
    }  # fmt: skip
    for name, value in shown.items():
        argv += ["--property", f"{name}={value}"]
    try:
        run = subprocess.run(argv, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        reason = f"the console consumer of {topic} did not end in {timeout_s:g} s"
        raise DependencyUnavailable("Kafka", reason) from error
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace")[-500:]
        raise DependencyUnavailable("Kafka", f"the console consumer of {topic} failed: {said}")
    return [_record(line, null.encode()) for line in run.stdout.split(b"\n") if line]


def _record(line: bytes, null: bytes) -> ConsoleRecord:
    fields = line.split(_FIELD.encode())
    assert len(fields) == 6, f"the console consumer printed {len(fields)} fields of 6"
    timestamp, partition, offset, headers, key, value = fields
    return ConsoleRecord(
        partition=int(partition.removeprefix(b"Partition:")),
        offset=int(offset.removeprefix(b"Offset:")),
        timestamp_ms=int(timestamp.partition(b":")[2]),
        key=_plain(key, null),
        value=_plain(value, null),
        headers=_headers(headers, null),
    )


def _headers(printed: bytes, null: bytes) -> tuple[tuple[str, bytes | None], ...]:
    if printed == b"NO_HEADERS":
        return ()
    pairs = (each.partition(b":") for each in printed.split(_HEADER.encode()))
    return tuple((name.decode(), _plain(value, null)) for name, _, value in pairs)


def _plain(printed: bytes, null: bytes) -> bytes | None:
    if printed == null:
        return None
    return _ESCAPE.sub(lambda match: bytes.fromhex(match.group(1).decode()), printed)
