"""Two models on the same events, for tests: switches and shadows as rows of a real ClickHouse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from consumers.warehouse import Warehouse
from millstream.models.reference import ModelReference
from millstream.stream import Stream
from tests.consumers.answers import DIGEST, SECOND_US, START_US, Made

OWN = ModelReference("m", "1", DIGEST)
OTHER = ModelReference("m", "2", "sha256:" + "b" * 64)
LABELS = ("no", "yes")


def switch(
    warehouse: Warehouse,
    stream: Stream,
    number: int,
    champion: ModelReference,
    *,
    challenger: ModelReference | None = None,
    shadows: Sequence[ModelReference] = (),
    first: int = 0,
    before: str = "",
    kind: str = "release",
) -> None:
    """A release that partition 0 answers from offset `first` on."""
    record: dict[str, Any] = {
        **_coordinates(stream.topic("releases"), 1, number),
        "record": ["switch"],
        "kind": [kind],
        "number": np.array([number], np.int64),
        "source_partition": np.zeros(1, np.int32),
        "first_offset": np.array([first], np.int64),
        "before_digest": [before],
    }
    for role, model in (("champion", champion), ("challenger", challenger)):
        for name in ("name", "version", "digest", "location"):
            record[f"{role}_{name}"] = [getattr(model, name, "")]
    for name in ("name", "version", "digest", "location"):
        texts = [[getattr(shadow, name) for shadow in shadows]]
        record[f"shadow_{name}s"] = pa.array(texts, pa.list_(pa.string()))
    warehouse.insert(stream.name, "releases", pa.table(record), f"r{number}")


def shadow(
    warehouse: Warehouse,
    stream: Stream,
    chances: Any,
    model: ModelReference = OTHER,
    *,
    first: int = 0,
    refused: Sequence[int] = (),
    labels: Sequence[str] = LABELS,
) -> None:
    """What `model` would have said of the events from offset `first` on; chances: of yes."""
    n = len(chances)
    at = START_US + (first + np.arange(n)) * SECOND_US
    why = ["non_finite_score" if i in set(refused) else "" for i in range(n)]
    rows = {
        **_coordinates(stream.topic("shadows"), n, first),
        "event_id": [f"E-{i}" for i in range(n)],
        "event_time": _times(at),
        "scored_at": _times(at + 21_000),
        "role": ["challenger"] * n,
        "model": [model.name] * n,
        "model_version": [model.version] * n,
        "model_digest": [model.digest] * n,
        "score": chances,
        "scores": [[1 - p, p] for p in chances],
        "label": [labels[int(p >= 0.5)] for p in chances],
        "refused": why,
        "source_topic": [stream.topic("events")] * n,
        "source_partition": np.zeros(n, np.int32),
        "source_offset": first + np.arange(n, dtype=np.int64),
    }
    warehouse.insert(stream.name, "shadows", pa.table(rows), f"s{model.version}-{first}")


def unlike(made: Made, errors: float, seed: int = 9) -> Any:
    """Chances of a model that is wrong on a share `errors` of these events, and sure else."""
    wrong = np.random.default_rng(seed).random(len(made.chances)) < errors
    said = np.asarray(made.truth) ^ wrong
    return np.where(said, 0.9, 0.1)


def _coordinates(topic: str, count: int, first: int) -> dict[str, Any]:
    return {
        "kafka_topic": [topic] * count,
        "kafka_partition": np.zeros(count, np.int32),
        "kafka_offset": np.arange(first, first + count, dtype=np.int64),
        "kafka_unreadable": [""] * count,
    }


def _times(at: Any) -> pa.Array:
    return pa.array(np.asarray(at, np.int64)).cast(pa.timestamp("us", "UTC"))
