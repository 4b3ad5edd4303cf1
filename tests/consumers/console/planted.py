"""A loans stream in ClickHouse with something of everything that the console shows.

Two models answered, the second from a release on; most answers have their labels; one feature
moved; an incident is open and one is resolved; letters hold what a hostile producer would send.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from consumers.warehouse import Warehouse, migrate
from millstream.models.registry import FolderRegistry
from millstream.stream import Stream
from tests.streams import Loans, applications, bundle_of, make_loans

EVENTS: Final = 2_400
SWITCH: Final = 800
"""Offset of each partition from which the second model answers."""
PARTITIONS: Final = 2
LABELLED: Final = 2_000
START_US: Final = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
WINDOWS: Final = 24
MOVED: Final = "salary"
HOSTILE: Final = '<script>document.title="owned"</script><img src=x onerror=alert(1)>'
OPEN_INCIDENT: Final = "a" * 64
SECOND: Final = "sha256:" + "b" * 64
ATTACK: Final = "L-7"
"""The event whose key and letter are hostile."""


@dataclass(frozen=True, slots=True)
class Planted:
    """stream: on disk, with its bundle. now_us: when the last prediction was scored."""

    stream: Stream
    now_us: int


def plant(warehouse: Warehouse, folder: Path, name: str, now_us: int) -> Planted:
    """Make the stream in `folder`, and its database with all of it."""
    loans = make_loans(folder)
    path = loans.stream.path
    text = path.read_text("utf-8").replace('name = "loans"', f'name = "{name}"')
    path.write_text(text.replace("partitions = 4", f"partitions = {PARTITIONS}"), "utf-8")
    stream = Stream.load(path)
    FolderRegistry(stream.beside("models")).add(stream.bundle_path, {"made_by": "a test"})
    migrate(warehouse, stream)
    _answers(warehouse, Loans(stream, loans.model), now_us)
    _drift(warehouse, stream)
    _incidents(warehouse, stream)
    _releases(warehouse, stream, now_us)
    _letters(warehouse, stream, now_us)
    _told(warehouse, stream, now_us)
    return Planted(stream, now_us)


def _answers(warehouse: Warehouse, loans: Loans, now_us: int) -> None:
    stream = loans.stream
    batch = applications(EVENTS, seed=4)
    n, rows = EVENTS, np.arange(EVENTS)
    partition, offset = (rows % PARTITIONS).astype(np.int32), rows // PARTITIONS
    published = now_us - (n - rows) * 50_000  # 20 a second
    late = np.where(rows % 100 == 0, 400_000, 4_000 + 10 * rows)
    scored = published + late
    second = offset >= SWITCH
    rng = np.random.default_rng(5)
    chance = rng.beta(2, 2, n)
    truth = np.where(rng.random(n) < np.where(second, 0.9, 0.7), chance >= 0.5, chance < 0.5)
    label = np.where(chance >= 0.5, "1", "0")
    keys = ["<b>key</b>" if i == 7 else text for i, text in enumerate(_texts(batch, "applicant"))]
    events = {name: batch.column(name) for name in batch.schema.names}
    _put(
        warehouse, stream, "events", partition, offset,
        **{**events, "applicant": keys}, kafka_time=_us(published), kafka_key=keys,
    )  # fmt: skip
    answer = {
        "event_id": batch.column("application_id"),
        "key": keys,
        "event_time": _us(START_US + rows * 1_000_000),
        "published_at": _us(published),
        "scored_at": _us(scored),
        "score": chance,
        "scores": [[1 - p, p] for p in chance],
        "confidence": np.maximum(chance, 1 - chance),
        "model": ["loans"] * n,
        "model_version": np.where(second, "2", "1"),
        "model_digest": np.where(second, SECOND, bundle_of(loans).digest),
        "source_topic": [stream.topic("events")] * n,
        "source_partition": partition,
        "source_offset": offset,
    }
    in_budget = late < stream.serving.latency_budget_ms * 1_000
    _put(
        warehouse, stream, "predictions", partition, offset,
        **answer, label=label, in_budget=in_budget, kafka_time=_us(scored),
    )  # fmt: skip
    _labels(warehouse, stream, answer, label, truth)


def _labels(
    warehouse: Warehouse, stream: Stream, answer: dict[str, Any], label: Any, truth: Any
) -> None:
    """The first LABELLED of them, ten minutes of event time later; the 50th is corrected."""
    some = slice(0, LABELLED)
    columns = {k: v[some] for k, v in answer.items()}
    said = np.where(truth, "1", "0")[some]
    rows = np.arange(LABELLED)
    at = rows // PARTITIONS
    shared = {"predicted": label[some], "known_at": _us(START_US + (rows + 600) * 1_000_000)}
    _put(
        warehouse, stream, "labelled", (rows % PARTITIONS).astype(np.int32), at,
        **columns, **shared, label=said, status=["labelled"] * LABELLED,
        version=np.ones(LABELLED, np.int32),
        id=[f"{r % PARTITIONS}/{r // PARTITIONS}/1" for r in rows],
        kafka_time=columns["scored_at"],
    )  # fmt: skip
    one = slice(50, 51)
    again = {k: v[one] for k, v in columns.items()} | {k: v[one] for k, v in shared.items()}
    _put(
        warehouse, stream, "labelled", np.zeros(1, np.int32), np.array([LABELLED]),
        **again, label=["0" if said[50] == "1" else "1"], status=["corrected"],
        version=np.array([2], np.int32), id=["0/25/2"], kafka_time=again["scored_at"],
    )  # fmt: skip


def _drift(warehouse: Warehouse, stream: Stream) -> None:
    """Readings of four measures in every window; MOVED moves half-way, and alarms twice."""
    rows: list[dict[str, Any]] = []
    for window in range(WINDOWS):
        at = START_US + (window + 1) * 100 * 1_000_000
        for place, feature in enumerate(stream.features.order):
            moved = feature == MOVED and window >= WINDOWS // 2
            base = 0.4 + 0.02 * window if moved else 0.01 + 0.002 * ((window * 7 + place) % 9)
            for measure, scale in (("psi", 1.0), ("js", 0.5), ("ks", 0.6), ("nulls", 0.0)):
                rows.append(_reading(at, "inputs", "input", measure, base * scale, feature))
        rate = 0.3 if window < WINDOWS // 2 else 0.1
        rows.append(_reading(at, "monitor", "error", "rate", rate, version="loans 1"))
    at = START_US + (WINDOWS // 2 + 2) * 100 * 1_000_000
    for place in range(2):
        rows.append(_reading(at, "inputs", "input", "moved", 5.25 + place, MOVED, "alarm", 3.0))
        at += 300_000_000
    n = len(rows)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["id"] = [f"d{i}" for i in range(n)]
    columns["event_time"] = _us(np.array(columns["event_time"]))
    zeros = np.zeros(n, np.int32)
    _put(warehouse, stream, "drift", zeros, np.arange(n), **columns)


def _reading(  # noqa: PLR0917
    at: int, detector: str, signal: str, measure: str, value: float, feature: str = "",
    status: str = "reading", threshold: float | None = None, version: str = "",
) -> dict[str, Any]:  # fmt: skip
    return {
        "event_time": at, "detector": detector, "signal": signal, "measure": measure,
        "value": value, "feature": feature, "status": status, "threshold": threshold,
        "model_version": version, "source_partition": 1, "source_offset": 7,
    }  # fmt: skip


def _incidents(warehouse: Warehouse, stream: Stream) -> None:
    """An open one of two revisions, and one that is resolved."""
    says = [
        (OPEN_INCIDENT, 1, "opened", "harmless_shift"),
        (OPEN_INCIDENT, 2, "updated", "harmful_shift"),
        ("c" * 64, 1, "opened", "broken_pipe"),
        ("c" * 64, 2, "resolved", "broken_pipe"),
    ]
    n = len(says)
    evidence = json.dumps({"distance": "5.25 of salary, limit 3.00", "note": HOSTILE})
    ours = [name == OPEN_INCIDENT for name, *_ in says]
    _put(
        warehouse, stream, "incidents", np.zeros(n, np.int32), np.arange(n),
        id=[name for name, *_ in says],
        revision=np.array([r for _, r, *_ in says], np.int32),
        status=[status for *_, status, _ in says],
        verdict=[verdict for *_, verdict in says],
        cause=["inputs" if own else "nulls" for own in ours],
        features=[[MOVED] if own else ["age"] for own in ours],
        slices=[[] for _ in says],
        first_partition=np.ones(n, np.int32),
        first_offset=np.full(n, 700),
        first_time=_us(np.array([START_US + (1_400 if own else 200) * 1_000_000 for own in ours])),
        updated_at=_us(np.array([START_US + (1_500 if own else 400) * 1_000_000 for own in ours])),
        evidence=[evidence] * n,
    )  # fmt: skip


def _releases(warehouse: Warehouse, stream: Stream, now_us: int) -> None:
    """One release of version 2, switched at SWITCH on both partitions; a decision before it."""
    n = 1 + PARTITIONS
    switched = now_us - (EVENTS - SWITCH * PARTITIONS) * 50_000
    _put(
        warehouse, stream, "releases", np.zeros(n, np.int32), np.arange(n),
        record=["release", *["switch"] * PARTITIONS], id=["r1"] * n, number=np.ones(n, np.int64),
        kind=["promote"] * n, said_at=_us(np.full(n, switched)),
        said_by=["retrainer", *["scorer-0"] * PARTITIONS], champion_name=["loans"] * n,
        champion_version=["2"] * n, champion_digest=[SECOND] * n, effective=["at_once"] * n,
        reason=["better by 0.2 on 800 events"] * n,
        source_partition=np.array([-1, *range(PARTITIONS)], np.int32),
        first_offset=np.array([-1, *[SWITCH] * PARTITIONS]), before_version=["1"] * n,
        shadow_names=[[] for _ in range(n)], shadow_versions=[[] for _ in range(n)],
    )  # fmt: skip
    _put(
        warehouse, stream, "decisions", np.zeros(1, np.int32), np.arange(1),
        id=["e1"], verdict=["promote"], role=["challenger"], champion=["loans"],
        champion_version=["1"], challenger=["loans"], challenger_version=["2"],
        rows=np.array([800]), loss=["error"], difference=[0.2], low=[0.15], high=[0.25],
        failed_gates=[[]], reason=["the challenger errs less often"],
        decided_at=_us(np.array([switched])),
    )  # fmt: skip
    stages = [("collect", "started", ""), ("collect", "done", ""), ("promote", "over", "promoted")]
    m = len(stages)
    _put(
        warehouse, stream, "retraining", np.zeros(m, np.int32), np.arange(m),
        attempt=["t1"] * m, number=np.ones(m, np.int64), stage=[s for s, _, _ in stages],
        status=[s for _, s, _ in stages], outcome=[o for _, _, o in stages],
        trigger=["incident"] * m, reason=["harmful_shift"] * m, tries=np.ones(m, np.int32),
        at=_us(switched + np.arange(m) * 1_000_000),
    )  # fmt: skip


def _letters(warehouse: Warehouse, stream: Stream, now_us: int) -> None:
    """Nine that are cut off, and one whose reason, key and bytes are markup."""
    n = 10
    errors = ["truncated"] * 9 + ["bad_value"]
    # beyond the events that were answered
    source = np.array([5_000 + i for i in range(n)])
    at = pa.array([(now_us // 1_000) - 1_000 * (n - i) for i in range(n)])
    _put(
        warehouse, stream, "dead_letters", np.zeros(n, np.int32), np.arange(n),
        source_topic=[stream.topic("events")] * n, source_partition=np.ones(n, np.int32),
        source_offset=source, stage=["decode"] * 9 + ["validate"], error=errors,
        reason=["it ends after 12 bytes"] * 9 + [HOSTILE], attempt=np.ones(n, np.int32),
        event_schema_id=pa.array([1] * 9 + [None], pa.int32()), model=["loans"] * n,
        model_version=["2"] * n, refused_at=at.cast(pa.timestamp("ms", "UTC")),
        kafka_key=["A-1"] * 9 + [HOSTILE], kafka_value=[b"\x00\x00\x00\x00\x01<b>"] * n,
        kafka_time=_us(np.array([now_us - 1_000_000 * (n - i) for i in range(n)])),
    )  # fmt: skip


def _told(warehouse: Warehouse, stream: Stream, now_us: int) -> None:
    """An alarm that fires, of the open incident."""
    _put(
        warehouse, stream, "alarms", np.zeros(1, np.int32), np.arange(1),
        id=["f1"], rule=["incident"], severity=["page"], status=["firing"],
        summary=["harmful_shift of salary"], cause=["inputs"], evidence=["{}"], labels=["{}"],
        started_at=_us(np.array([now_us - 60_000_000])),
        updated_at=_us(np.array([now_us - 60_000_000])), revision=np.ones(1, np.int32),
        source=[f"incident/{OPEN_INCIDENT}"],
    )  # fmt: skip


def _put(
    warehouse: Warehouse, stream: Stream, table: str, partition: Any, offset: Any, **columns: Any
) -> None:
    """Insert rows at these places of the table's topic; what is not given has its default."""
    n = len(offset)
    place = {
        "kafka_topic": [stream.topic(table)] * n,
        "kafka_partition": partition,
        "kafka_offset": np.asarray(offset, np.int64),
        "kafka_unreadable": [""] * n,
    }
    warehouse.insert(stream.name, table, pa.table(place | columns), f"{table}{n}")


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    found: list[str] = batch.column(name).to_pylist()
    return found


def _us(at: Any) -> pa.Array:
    return pa.array(np.asarray(at, np.int64)).cast(pa.timestamp("us", "UTC"))
