"""A small stream for analysts, in a real ClickHouse: three days of loan applications with
everything that can happen to them, each record made a row by what the sink makes rows with.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from consumers.warehouse import Tables, Warehouse, migrate
from millstream.contracts import SCHEMAS, contract, topic_table
from millstream.letters import DeadLetter, to_headers
from millstream.records import Records
from millstream.stream import Stream
from millstream.warehouse.blocks import Pending, Source
from millstream.warehouse.rows import row_makers
from tests.consumers.warehouses import avro
from tests.streams import LOANS

START_US = int(datetime(2024, 3, 1, 10, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = 60_000_000
EVENTS = 1_200
PARTITIONS = 2
SWITCH = 300
"""Offset from which on version 2 answers, on both partitions."""
DIGESTS = {version: f"sha256:{version * 64}" for version in "12"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class World:
    """What is true, by source: (partition, offset). answers: what was predicted. labels: the newest
    labelled record of each. values: topic kind -> partition -> the records' values in order."""

    answers: dict[tuple[int, int], dict[str, Any]]
    labels: dict[tuple[int, int], dict[str, Any]]
    values: dict[str, dict[int, list[bytes | None]]]


def stream_called(name: str, folder: Path, more: str = "") -> Stream:
    """The loans example under another name, with `more` at the end of its stream.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"loans"', f'"{name}"', 1)
    (folder / "stream.toml").write_text(text + more)
    shutil.copy(LOANS / "event.v1.avsc", folder)
    return Stream.load(folder / "stream.toml")


def fill(warehouse: Warehouse, stream: Stream) -> World:
    """Migrate, and put the three days in."""
    migrate(warehouse, stream)
    rng = np.random.default_rng(11)
    answers: dict[tuple[int, int], dict[str, Any]] = {}
    labels: dict[tuple[int, int], dict[str, Any]] = {}
    said: dict[str, dict[int, Rows]] = {}
    letters: dict[int, list[DeadLetter]] = {0: [], 1: []}
    for number in range(EVENTS):
        place = (number % PARTITIONS, number // PARTITIONS)
        event = _event(number, place, rng)
        _add(said, "events", place, event)
        if number % 100 == 57:
            event["broken"] = True
            letters[place[0]].append(_letter(stream, place, 1))
            continue
        answer = _answer(stream, number, place, event, rng)
        answers[place] = answer
        _add(said, "predictions", place, answer)
        _add_outcome(said, labels, answer, number, rng)
    letters[0].append(_letter(stream, (0, EVENTS), 2))
    _add_the_rest(stream, said)
    values = _encoded(stream, said)
    for kind, parts in values.items():
        for partition, records in parts.items():
            insert(warehouse, stream, kind, partition, records)
    for partition, found in letters.items():
        _insert_letters(warehouse, stream, partition, found)
    return World(answers, labels, values)


def insert(
    warehouse: Warehouse,
    stream: Stream,
    kind: str,
    partition: int,
    values: list[bytes | None],
    first: int = 0,
) -> None:
    """These records as the sink inserts them, from offset `first` on."""
    topic = topic_table()[kind]
    name = topic.name(stream.name)
    text = stream.schema_of_event.text if kind == "events" else contract(topic.value).text
    maker = row_makers(stream, lambda _: text, {kind})[name]
    times = START_US + (np.arange(len(values)) + first) * PARTITIONS * 2 * MINUTE_US
    _land(
        warehouse, stream, maker.table, maker.rows(_records(name, values, partition, first, times))
    )


def _land(warehouse: Warehouse, stream: Stream, table: str, rows: Any) -> None:
    partition = rows.column("kafka_partition")[0].as_py()
    first = rows.column("kafka_offset")[0].as_py()
    pending = Pending(Source(table, rows.column("kafka_topic")[0].as_py(), partition), first - 1)
    pending.add(rows, 0.0)
    Tables(warehouse, stream.name).insert(pending.cut(rows.num_rows), 0)


def _records(
    name: str, values: list[bytes | None], partition: int, first: int, times: Any
) -> Records:
    count = len(values)
    numbers = np.full(count, partition, np.int32)
    offsets = np.arange(first, first + count, dtype=np.int64)
    return Records(name, values, [b"k"] * count, numbers, offsets, times.astype(np.int64), {})


def _insert_letters(
    warehouse: Warehouse, stream: Stream, partition: int, letters: list[DeadLetter]
) -> None:
    topic = topic_table()["dead_letters"]
    name = topic.name(stream.name)
    times = np.array([START_US + letter.source_offset * 4 * MINUTE_US for letter in letters])
    records = _records(name, [b"\x00broken"] * len(letters), partition, 0, times)
    records.headers.update({row: to_headers(letter) for row, letter in enumerate(letters)})
    maker = row_makers(stream, lambda _: "", {"dead_letters"})[name]
    _land(warehouse, stream, "dead_letters", maker.rows(records))


def _add(said: dict[str, dict[int, Rows]], kind: str, place: tuple[int, int], row: Any) -> None:
    said.setdefault(kind, {}).setdefault(place[0], []).append(row)


def _published(place: tuple[int, int]) -> int:
    """As `insert` stamps the event: two minutes apart over both partitions, hence 40 hours."""
    return START_US + place[1] * PARTITIONS * 2 * MINUTE_US


def _event(number: int, place: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
    twin = number - PARTITIONS * 10 if number % 400 == 399 else number
    return {
        "application_id": f"L-{twin}",
        "applicant": f"A-{rng.integers(0, 40)}",
        "applied_at": _published(place) - 1_000_000,
        "salary": float(rng.uniform(20_000, 150_000)),
        "commission": 0.0,
        "age": int(rng.integers(20, 81)),
        "elevel": int(rng.integers(0, 5)),
        "car": int(rng.integers(1, 21)),
        "zipcode": int(rng.integers(0, 9)),
        "hvalue": 1e5,
        "hyears": 7,
        "loan": float(rng.uniform(0, 500_000)),
    }


def _answer(
    stream: Stream, number: int, place: tuple[int, int], event: Any, rng: np.random.Generator
) -> dict[str, Any]:
    chance = float(rng.beta(0.7, 0.7))
    version = "1" if place[1] < SWITCH else "2"
    is_abstained = number % 150 == 33
    waited_us = 900_000 if number % 50 == 7 else int(rng.uniform(2_000, 40_000))
    return {
        "event_id": event["application_id"],
        "key": event["applicant"],
        "event_time": event["applied_at"],
        "published_at": _published(place),
        "scored_at": _published(place) + waited_us,
        "in_budget": waited_us <= 250_000,
        "score": float("nan") if is_abstained else chance,
        "scores": [] if is_abstained else [1 - chance, chance],
        "label": None if is_abstained else "1" if chance >= 0.5 else "0",
        "confidence": None if is_abstained else max(chance, 1 - chance),
        "model": "loans",
        "model_version": version,
        "model_digest": DIGESTS[version],
        "source_topic": stream.topic("events"),
        "source_partition": place[0],
        "source_offset": place[1],
        "event_schema_id": 1,
        "answered_by": "abstained" if is_abstained else "full",
    }


def _add_outcome(
    said: dict[str, dict[int, Rows]],
    labels: dict[tuple[int, int], dict[str, Any]],
    answer: dict[str, Any],
    number: int,
    rng: np.random.Generator,
) -> None:
    """Most outcomes come, some are corrected later, some never come, some are not due yet."""
    place = (answer["source_partition"], answer["source_offset"])
    fate = number % 20
    if fate == 0:
        return
    chance = answer["scores"][1] if answer["scores"] else 0.5
    truth = "1" if rng.random() < chance else "0"
    known_at = answer["scored_at"] + int(rng.exponential(3.6e9))
    same = (
        *("event_id", "key", "score", "scores", "confidence", "model", "model_version"),
        *("model_digest", "event_time", "published_at", "scored_at", "source_topic"),
        *("source_partition", "source_offset"),
    )
    record = {name: answer[name] for name in same} | {
        "id": f"{place[0]}/{place[1]}/1",
        "version": 1,
        "status": "never_labelled" if fate == 1 else "labelled",
        "label": None if fate == 1 else truth,
        "value": None,
        "known_at": None if fate == 1 else known_at,
        "predicted": answer["label"],
    }
    _add(said, "labelled", place, record)
    labels[place] = record
    if fate == 1:
        return
    outcome = {"event_id": answer["event_id"], "key": answer["key"], "value": None}
    _add(said, "outcomes", place, outcome | {"label": truth, "known_at": known_at})
    if fate == 2:
        other = "0" if truth == "1" else "1"
        late = {"label": other, "known_at": known_at + 10 * MINUTE_US}
        _add(said, "outcomes", place, outcome | late)
        newest = record | late | {"id": f"{place[0]}/{place[1]}/2", "version": 2}
        labels[place] = newest | {"status": "corrected"}
        _add(said, "labelled", place, labels[place])


def _letter(stream: Stream, place: tuple[int, int], attempt: int) -> DeadLetter:
    at = datetime.fromtimestamp(_published(place) / 1e6, UTC).isoformat(timespec="milliseconds")
    reason = "field salary: the record ends before the value does"
    where = (stream.topic("events"), *place)
    return DeadLetter(*where, "decode", "truncated", reason, attempt, 1, "loans", "1", at)


def golden(subject: str, **changes: Any) -> dict[str, Any]:
    """The first golden record of a contract's newest version, with these fields changed."""
    newest = max((SCHEMAS / "golden").glob(f"{subject}.v*.json"), key=lambda path: path.name)
    first: dict[str, Any] = json.loads(newest.read_text("utf-8"))[0]
    return first | changes


def _add_the_rest(stream: Stream, said: dict[str, dict[int, Rows]]) -> None:
    """Orphaned outcomes, drift, incidents, alarms, releases, decisions, a retraining, shadows."""
    orphan = golden("outcome", event_id="L-999999")
    _add(said, "outcomes", (1, 0), orphan)
    for n, feature in enumerate(("salary", "age") * 10):
        value, place = 0.01 * n, (0, 20 * n)
        status = "alarm" if n == 18 else "warning" if n == 16 else "reading"
        about = {"id": f"d{n}", "feature": feature, "measure": "psi", "status": status}
        row = golden("drift", **about, value=value, threshold=0.17, event_time=_published(place))
        _add(said, "drift", (0, 0), row | {"source_partition": 0, "source_offset": place[1]})
    for revision, status in enumerate(("opened", "updated", "resolved"), 1):
        at = {"first_time": START_US + 3_600_000_000, "updated_at": START_US + revision * 4 * 10**9}
        row = golden("incident", revision=revision, status=status, **at)
        _add(said, "incidents", (0, 0), row)
    for revision, status in enumerate(("firing", "resolved"), 1):
        _add(said, "alarms", (0, 0), golden("alarm", revision=revision, status=status))
    for version, number in (("1", 1), ("2", 2)):
        release = golden("release", number=number, id=f"r{number}", kind="release")
        release |= {"champion_version": version, "champion_digest": DIGESTS[version]}
        _add(said, "releases", (0, 0), release)
        for partition in range(PARTITIONS):
            first = 0 if number == 1 else SWITCH
            switch = release | {"record": "switch", "source_partition": partition}
            switch |= {"first_offset": first, "before_version": "1"}
            _add(said, "releases", (partition, 0), switch)
    failed = golden("release", number=2, id="r2", record="failed", error="BundleInvalid: digest")
    _add(said, "releases", (0, 0), failed)
    _add(said, "decisions", (0, 0), golden("decision"))
    for n, (stage, status) in enumerate((("collect", "started"), ("promote", "over"))):
        outcome = "promoted" if status == "over" else ""
        row = golden("retraining", stage=stage, status=status, outcome=outcome)
        _add(said, "retraining", (0, 0), row | {"at": START_US + n * 30_000_000})
    for answer in said["predictions"][0][::10]:
        row = golden("shadow", label=answer["label"], score=answer["score"])
        row |= {name: answer[name] for name in ("event_id", "event_time", "scored_at", "scores")}
        row |= {"source_topic": stream.topic("events"), "source_partition": 0}
        _add(said, "shadows", (0, 0), row | {"source_offset": answer["source_offset"]})


def _encoded(
    stream: Stream, said: Mapping[str, Mapping[int, Iterable[dict[str, Any]]]]
) -> dict[str, dict[int, list[bytes | None]]]:
    values: dict[str, dict[int, list[bytes | None]]] = {}
    for kind, parts in said.items():
        subject = topic_table()[kind].value
        text = stream.schema_of_event.text if kind == "events" else contract(subject).text
        for partition, rows in parts.items():
            made: list[bytes | None] = [
                b"\x00broken" if row.pop("broken", False) else avro(text, row) for row in rows
            ]
            values.setdefault(kind, {})[partition] = made
    return values
