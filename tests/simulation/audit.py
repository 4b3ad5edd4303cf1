"""What must be true of the topics and the tables when the world has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from millstream.contracts import dead_letter_headers
from millstream.doubles.broker import Kafka
from millstream.doubles.log import Entry
from millstream.doubles.tables import MemoryTables
from tests.simulation.programs import EVENTS, LETTERS, POISON, PREDICTIONS, SCORERS, TABLES

Published = dict[int, dict[int, tuple[bytes, bytes]]]
"""Partition -> offset -> key and value of every event that read_committed ever showed."""


def is_finished(kafka: Kafka, tables: MemoryTables, published: Published) -> bool:
    """Whether every event has an answer and every record a row, as far as counting tells."""
    events = sum(len(records) for records in published.values())
    answers = 0
    for topic, table in TABLES.items():
        for name in kafka.partitions(topic):
            records = len(kafka.logs[name].visible())
            if topic == EVENTS:
                records = len(published[name[1]])
            else:
                answers += records
            if tables.count(table, *name) < records:
                return False
    return answers >= events and all(
        kafka.group(SCORERS).offsets.get((EVENTS, p), 0) > max(records, default=-1)
        for p, records in published.items()
    )


def problems(kafka: Kafka, tables: MemoryTables, published: Published) -> list[str]:
    """Every way in which the promise is broken, one line each."""
    found: list[str] = []
    for number, events in published.items():
        predictions = kafka.logs[(PREDICTIONS, number)].visible()
        letters = kafka.logs[(LETTERS, number)].visible()
        found += _answers(number, events, predictions, letters)
        found += _offset(kafka, number, events)
        for topic in (PREDICTIONS, LETTERS):
            there = {o: (e.key, e.value) for o, e in kafka.logs[(topic, number)].visible()}
            found += _rows(tables, topic, number, there)
        found += _rows(tables, EVENTS, number, events)
    return found


def answered(kafka: Kafka, partitions: Iterable[int]) -> dict[int, list[tuple[int, int]]]:
    """Partition -> offset and release of every prediction."""
    found = {}
    for number in partitions:
        values = [entry.value or b"" for _, entry in kafka.logs[(PREDICTIONS, number)].visible()]
        parts = [value.split(b"/") for value in values]
        found[number] = [(int(offset), int(release)) for _, offset, release in parts]
    return found


def _answers(
    number: int,
    events: dict[int, tuple[bytes, bytes]],
    predictions: list[tuple[int, Entry]],
    letters: list[tuple[int, Entry]],
) -> list[str]:
    """One prediction or one letter for each event, under its key, in its partition, in order."""
    source = dead_letter_headers()["source_offset"]
    answered = [int((entry.value or b"").split(b"/")[1]) for _, entry in predictions]
    refused = [int(dict(entry.headers)[source] or b"") for _, entry in letters]
    good = [offset for offset, (_, value) in events.items() if value != POISON]
    bad = [offset for offset, (_, value) in events.items() if value == POISON]
    found = _compare(f"predictions of partition {number}", good, answered)
    found += _compare(f"letters of partition {number}", bad, refused)
    for what, offsets in (("predictions", answered), ("letters", refused)):
        if offsets != sorted(offsets):
            found.append(f"{what} of partition {number} are out of order: {offsets}")
    for (_, entry), offset in zip(predictions, answered, strict=True):
        named = (entry.value or b"").rpartition(b"/")[0]
        if named != f"{number}/{offset}".encode() or entry.key != events[offset][0]:
            found.append(f"prediction {entry.value!r} of {number}-{offset} has key {entry.key!r}")
    return found


def _offset(kafka: Kafka, number: int, events: dict[int, tuple[bytes, bytes]]) -> list[str]:
    """The committed offset is the one behind the last event."""
    if not events:
        return []
    offset = kafka.group(SCORERS).offsets.get((EVENTS, number))
    if offset == max(events) + 1:
        return []
    return [f"partition {number} is committed at {offset}, its last event is {max(events)}"]


def _rows(
    tables: MemoryTables,
    topic: str,
    number: int,
    records: Mapping[int, tuple[bytes | None, bytes | None]],
) -> list[str]:
    """One row for each record, with its bytes."""
    rows = tables.rows(TABLES[topic], topic, number)
    columns = ("kafka_offset", "kafka_key", "kafka_value")
    held = [rows.column(name).to_pylist() for name in columns] if rows is not None else [[], [], []]
    found = _compare(f"rows of {topic}-{number}", list(records), held[0])
    for offset, *content in zip(*held, strict=True):
        if offset in records and tuple(content) != records[offset]:
            found.append(f"the row of {topic}-{number} offset {offset} is not its record")
    return found


def _compare(what: str, wanted: list[int], there: list[int]) -> list[str]:
    missing, extra = Counter(wanted) - Counter(there), Counter(there) - Counter(wanted)
    found = []
    if missing:
        found.append(f"{what}: offsets {sorted(missing)} are missing")
    if extra:
        found.append(f"{what}: offsets {sorted(extra.elements())} are doubled or alien")
    return found
