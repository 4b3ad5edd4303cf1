"""Answers for tests, in a real ClickHouse: events, predictions, outcomes and letters as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from consumers.warehouse import Warehouse, migrate
from millstream.models.card import Card
from millstream.stream import Stream

START_US = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 1_000_000
DIGEST = "sha256:" + "a" * 64
SECOND_US = 1_000_000


def card_of(kind: str = "binary", labels: tuple[str, ...] = ("no", "yes")) -> Card:
    """A card as a bundle of these labels would have it."""
    binary = kind == "binary"
    return Card.model_validate(
        {
            "name": "m",
            "version": "1",
            "digest": DIGEST,
            "kind": kind,
            "labels": labels,
            "positive": labels[1] if binary else None,
            "threshold": 0.5 if binary else None,
            "opset": {"ai.onnx": 17},
            "created": datetime(2024, 1, 1, tzinfo=UTC),
            "input": {"layout": "tensor", "name": "x"},
            "output": {"scores": "p"},
            "trained_by": {"library": "none", "version": "1"},
            "features": ({"name": "n"},),
        }
    )


@dataclass(frozen=True, slots=True)
class Made:
    """n answers of a binary model, a second apart: the chance of yes, and what was true."""

    chances: Any
    truth: Any
    region: list[str]


def make(count: int, seed: int = 0) -> Made:
    """Answers whose chances are what they say; two regions."""
    rng = np.random.default_rng(seed)
    chances = rng.beta(1, 1, count)
    truth = rng.random(count) < chances
    return Made(chances, truth, ["north" if x else "south" for x in rng.random(count) < 0.5])


def store(
    warehouse: Warehouse,
    stream: Stream,
    made: Made,
    version: str = "1",
    labels: Sequence[str] = ("no", "yes"),
) -> None:
    """Migrate, and insert the events and predictions of these answers, from offset 0 on."""
    migrate(warehouse, stream)
    n = len(made.chances)
    at = START_US + np.arange(n) * SECOND_US
    events = {
        **_coordinates(stream.topic("events"), n),
        "kafka_time": _times(at),
        "id": [f"E-{i}" for i in range(n)],
        "at": _times(at),
        "region": made.region,
    }
    warehouse.insert(stream.name, "events", pa.table(events), "e")
    predictions = {
        **_coordinates(stream.topic("predictions"), n),
        **_answer(stream, made, at, version),
        "label": [labels[int(p >= 0.5)] for p in made.chances],
        "in_budget": [True] * n,
    }
    warehouse.insert(stream.name, "predictions", pa.table(predictions), "p")


def label(
    warehouse: Warehouse,
    stream: Stream,
    made: Made,
    rows: list[int],
    *,
    first: int = 0,
    version: int = 1,
    status: str = "labelled",
    delay_s: int = 10,
    truth: list[str | None] | None = None,
    labels: Sequence[str] = ("no", "yes"),
    values: Sequence[float] | None = None,
    without: Sequence[str] = (),
) -> None:
    """Insert labelled rows of these answers, at the labelled topic's offsets from `first` on.

    values: of a regression, in place of labels. without: columns that stay empty.
    """
    n = len(rows)
    place = np.array(rows, np.int64)
    at = START_US + place * SECOND_US
    if values is not None:
        truth = [None] * n
    said = [labels[int(t)] for t in np.asarray(made.truth)[place]] if truth is None else truth
    some = Made(np.asarray(made.chances)[place], None, [])
    answer = _answer(stream, some, at, "1")
    answer["source_offset"] = place
    labelled = {
        **_coordinates(stream.topic("labelled"), n, first),
        **answer,
        "id": [f"0/{row}/{version}" for row in rows],
        "version": np.full(n, version, np.int32),
        "status": [status] * n,
        "label": pa.array(said, pa.string()),
        "value": None if values is None else pa.array(values, pa.float64()),
        "known_at": _times(at + delay_s * SECOND_US) if status != "never_labelled" else None,
        "predicted": [labels[int(p >= 0.5)] for p in some.chances],
    }
    kept = {
        name: column
        for name, column in labelled.items()
        if column is not None and name not in without
    }
    warehouse.insert(stream.name, "labelled", pa.table(kept), f"l{first}-{version}")


def refuse(warehouse: Warehouse, stream: Stream, rows: list[int]) -> None:
    """Insert a dead letter for each of these events."""
    n = len(rows)
    letters = {
        **_coordinates(stream.topic("dead_letters"), n),
        "source_topic": [stream.topic("events")] * n,
        "source_partition": np.zeros(n, np.int32),
        "source_offset": np.array(rows, np.int64),
        "stage": ["decode"] * n,
        "error": ["truncated"] * n,
        "model": ["m"] * n,
        "model_version": ["1"] * n,
        "refused_at": pa.array([START_US // 1_000] * n).cast(pa.timestamp("ms", "UTC")),
    }
    warehouse.insert(stream.name, "dead_letters", pa.table(letters), "d")


def _answer(stream: Stream, made: Made, at: Any, version: str) -> dict[str, Any]:
    n = len(made.chances)
    return {
        "event_id": [f"E-{int(i)}" for i in at],
        "key": ["k"] * n,
        "event_time": _times(at),
        "published_at": _times(at),
        "scored_at": _times(at + 20_000),
        "score": made.chances,
        "scores": [[1 - p, p] for p in made.chances],
        "confidence": np.maximum(made.chances, 1 - np.asarray(made.chances)),
        "model": ["m"] * n,
        "model_version": [version] * n,
        "model_digest": [DIGEST] * n,
        "source_topic": [stream.topic("events")] * n,
        "source_partition": np.zeros(n, np.int32),
        "source_offset": np.arange(n, dtype=np.int64),
    }


def _coordinates(topic: str, count: int, first: int = 0) -> dict[str, Any]:
    return {
        "kafka_topic": [topic] * count,
        "kafka_partition": np.zeros(count, np.int32),
        "kafka_offset": np.arange(first, first + count, dtype=np.int64),
        "kafka_unreadable": [""] * count,
    }


def _times(at: Any) -> pa.Array:
    return pa.array(np.asarray(at, np.int64)).cast(pa.timestamp("us", "UTC"))
