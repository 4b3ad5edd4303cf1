"""What an audit is asked for, and what its report says of itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import confluent_kafka

from millstream.audit.rescore import Rescorer
from millstream.stream import Stream


@dataclass(frozen=True, slots=True)
class Options:
    """How to audit.

    wait_s: for what is late or in an open transaction. Too low calls a slow scorer stopped; too
    high keeps a person waiting. bundles: for scoring a sample again; empty leaves that out.
    """

    wait_s: float = 10.0
    bundles: tuple[Path, ...] = ()
    threads: int = 1


def config_digests(stream: Stream, rescorers: list[Rescorer]) -> dict[str, str]:
    """Digests of what decides about the answers."""
    named = {
        "stream.toml": stream.path.read_bytes(),
        "event schema": stream.schema_of_event.text.encode(),
    }
    found = {
        name: "sha256:" + hashlib.sha256(content).hexdigest() for name, content in named.items()
    }
    return found | {f"bundle {i}": each.digest for i, each in enumerate(rescorers)}


def versions() -> dict[str, str]:
    """Of everything that could change what an audit sees."""
    names = ("millstream", "confluent-kafka", "numpy", "pyarrow", "fastavro", "onnxruntime")
    return {name: version(name) for name in names} | {"librdkafka": confluent_kafka.libversion()[0]}
