"""Loans of a hundred days, made inside ClickHouse: no producer, no network, the same each time.

Row i is event i: offset i / 4 of partition i mod 4, published evenly over the days. What a real
stream cannot compress is drawn from hashes: scores are doubles of 53 random bits, keys are of
500,000 people, latencies and label delays are spread as exponentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from consumers.warehouse import Warehouse, migrate
from millstream.stream import Stream

DAYS = 100
PARTITIONS = 4
CHUNK_ROWS = 1_000_000
FIRST_US = 1_704_067_200_000_000
"""2024-01-01."""
SETTINGS = "SETTINGS max_threads = 2, max_insert_threads = 1, max_memory_usage = 6000000000"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Rows of each table. corrected: labelled rows that a later one corrects, each hundred
    thousand."""

    predictions: int
    corrected: int

    @property
    def events(self) -> int:
        """The newest fifth: as if they were kept for twenty days."""
        return self.predictions // 5

    @property
    def labelled(self) -> int:
        """Of twenty answers, one waits for its outcome."""
        return self.predictions - self.predictions // 20


def generate(
    warehouse: Warehouse,
    stream: Stream,
    amounts: Amounts,
    told: Callable[[str, int, int], None],
) -> dict[str, int]:
    """Migrate and fill; table -> rows. told: of each block: its table, rows so far, rows to come.

    Nothing is read from Kafka and nothing is decoded: what this takes says how quickly ClickHouse
    makes and writes such rows, projections included, not how quickly the sink does.
    """
    migrate(warehouse, stream)
    step_us = DAYS * 86_400_000_000 / amounts.predictions
    made: dict[str, int] = {}
    names: dict[str, str] = {}
    inserts = list(_inserts(stream, amounts, step_us))
    total, done = sum(end - first for _, first, end, _ in inserts), 0
    for table, first, end, sql in inserts:
        if table not in names:
            names[table] = ", ".join(row[0] for row in warehouse.query(f"DESCRIBE TABLE ({sql})"))
        warehouse.command(f"INSERT INTO {stream.name}.{table} ({names[table]}) {sql} {SETTINGS}")
        made[table] = made.get(table, 0) + end - first
        done += end - first
        told(table, done, total)
    return made


def _inserts(
    stream: Stream, amounts: Amounts, step_us: float
) -> Iterator[tuple[str, int, int, str]]:
    """Table, rows and SELECT of each chunk."""
    n = amounts.predictions
    for first, end in _chunks(0, n):
        yield "predictions", first, end, _predictions(stream, n, first, end - first, step_us)
    for first, end in _chunks(0, amounts.labelled):
        yield "labelled", first, end, _labelled(stream, n, first, end - first, step_us, "1")
    if amounts.corrected:
        every = 100_000 // amounts.corrected
        for first, end in _chunks(0, amounts.labelled // every):
            rows = _labelled(stream, n, first, end - first, step_us, "2", every)
            yield "labelled", first, end, rows
    for first, end in _chunks(n - amounts.events, n):
        yield "events", first, end, _events(stream, first, end - first, step_us)
    for table, count, sql in _small(stream, n, step_us):
        yield table, 0, count, sql


def _chunks(first: int, end: int) -> Iterator[tuple[int, int]]:
    for at in range(first, end, CHUNK_ROWS):
        yield at, min(end, at + CHUNK_ROWS)


def _time(expression: str) -> str:
    return f"fromUnixTimestamp64Micro(toInt64({expression}), 'UTC')"


def _unit(salt: int, of: str = "i") -> str:
    """A double in [0, 1) of 53 bits that only depends on the row."""
    return f"(bitShiftRight(sipHash64({of}, {salt}), 11) / {2**53})"


def _answer(step_us: float, of: str = "i") -> str:
    """The columns that predictions and labelled rows share, as names of a WITH."""
    return (
        f"{FIRST_US} + toInt64({of} * {step_us!r}) AS at, "
        f"at + toInt64(-12000 * log(1 - {_unit(1, of)})) AS scored, "
        f"{_unit(2, of)} AS s, concat('A-', toString(sipHash64({of}, 3) % 500000)) AS k"
    )


def _version(n: int, of: str = "i") -> str:
    """Five versions, one after the other."""
    return f"toString(1 + intDiv({of} * 5, {n}))"


def _coordinates(topic: str, kafka_time: str, offset: str, partition: str = "i % 4") -> str:
    return (
        f"'{topic}' AS kafka_topic, toInt32({partition}) AS kafka_partition, {offset} AS "
        f"kafka_offset, {_time(kafka_time)} AS kafka_time, k AS kafka_key, 1 AS kafka_schema_id, "
        f"toStartOfHour({_time(kafka_time)}) AS kafka_block_time"
    )


def _predictions(stream: Stream, n: int, first: int, count: int, step_us: float) -> str:
    return (
        f"WITH number AS i, {_answer(step_us)} SELECT concat('L-', toString(i)) AS event_id, "
        f"k AS key, {_time('at - 1000000')} AS event_time, {_time('at')} AS published_at, "
        f"{_time('scored')} AS scored_at, scored - at <= 250000 AS in_budget, s AS score, "
        "[1 - s, s] AS scores, if(s >= 0.5, '1', '0') AS label, greatest(s, 1 - s) AS confidence, "
        f"'loans' AS model, {_version(n)} AS model_version, "
        "concat('sha256:', repeat(model_version, 64)) AS model_digest, "
        f"'{stream.topic('events')}' AS source_topic, toInt32(i % 4) AS source_partition, "
        "toInt64(intDiv(i, 4)) AS source_offset, 1 AS event_schema_id, "
        "if(sipHash64(i, 4) % 1000 = 0, 'cached', 'full') AS answered_by, "
        f"{_coordinates(stream.topic('predictions'), 'scored', 'toInt64(intDiv(i, 4))')} "
        f"FROM numbers_mt({first}, {count})"
    )


def _labelled(
    stream: Stream, n: int, first: int, count: int, step_us: float, version: str, every: int = 1
) -> str:
    """version 1: an outcome of every row but each twentieth; 2: the other label, of each
    `every`th."""
    of = f"number * {every}" if every > 1 else "number + intDiv(number, 19)"
    offset = "intDiv(number, 4)" + (f" + {n}" if version == "2" else "")
    truth = f"({_unit(5)} < s)" if version == "1" else f"({_unit(5)} >= s)"
    never = "sipHash64(i, 6) % 50 = 0" if version == "1" else "false"
    status = f"if({never}, 'never_labelled', '{'labelled' if version == '1' else 'corrected'}')"
    return (
        f"WITH {of} AS i, {_answer(step_us)}, "
        f"scored + toInt64(-3600000000 * {version} * log(1 - {_unit(7)})) AS known "
        "SELECT concat(toString(i % 4), '/', toString(intDiv(i, 4)), '/', "
        f"'{version}') AS id, concat('L-', toString(i)) AS event_id, k AS key, {version} AS "
        f"version, {status} AS status, if({never}, NULL, if({truth}, '1', '0')) AS label, "
        f"if({never}, NULL, {_time('known')}) AS known_at, if(s >= 0.5, '1', '0') AS predicted, "
        f"s AS score, [1 - s, s] AS scores, greatest(s, 1 - s) AS confidence, 'loans' AS model, "
        f"{_version(n)} AS model_version, "
        "concat('sha256:', repeat(model_version, 64)) AS model_digest, "
        f"{_time('at - 1000000')} AS event_time, {_time('at')} AS published_at, "
        f"{_time('scored')} AS scored_at, '{stream.topic('events')}' AS source_topic, "
        "toInt32(i % 4) AS source_partition, toInt64(intDiv(i, 4)) AS source_offset, "
        f"{_coordinates(stream.topic('labelled'), 'known', f'toInt64({offset})', 'number % 4')} "
        f"FROM numbers_mt({first}, {count})"
    )


def _events(stream: Stream, first: int, count: int, step_us: float) -> str:
    return (
        f"WITH number AS i, {_answer(step_us)} SELECT concat('L-', toString(i)) AS "
        f"application_id, k AS applicant, {_time('at - 1000000')} AS applied_at, "
        f"round(20000 + 130000 * {_unit(8)}, 2) AS salary, "
        f"if(salary >= 75000, 0, round(10000 + 65000 * {_unit(9)}, 2)) AS commission, "
        f"20 + sipHash64(i, 10) % 61 AS age, sipHash64(i, 11) % 5 AS elevel, "
        f"1 + sipHash64(i, 12) % 20 AS car, sipHash64(i, 13) % 9 AS zipcode, "
        f"round(900000 * {_unit(14)}, 2) AS hvalue, 1 + sipHash64(i, 15) % 30 AS hyears, "
        f"round(500000 * {_unit(16)}, 2) AS loan, "
        f"{_coordinates(stream.topic('events'), 'at', 'toInt64(intDiv(i, 4))')} "
        f"FROM numbers_mt({first}, {count})"
    )


def _small(stream: Stream, n: int, step_us: float) -> Iterator[tuple[str, int, str]]:
    """Drift readings, a hundredth of the predictions; letters and outcomes, fewer."""
    features = str(list(stream.features.order))
    readings, letters, outcomes = n // 100, max(1, n // 10_000), max(1, n // 1_000)
    same = "concat('A-', toString(i)) AS k"
    at = f"{FIRST_US} + toInt64(i * {step_us * 100!r}) AS at"
    yield (
        "drift",
        readings,
        (
            f"WITH number AS i, {same}, {at} SELECT hex(sipHash128(i)) AS id, '{stream.name}' AS "
            f"stream, 'inputs' AS detector, 'input' AS signal, 'js' AS measure, "
            f"{_unit(20)} / 4 AS value, 0.24 AS threshold, "
            f"if(value > threshold, 'alarm', 'reading') AS status, "
            f"{features}[1 + i % 9] AS feature, toInt32(i % 4) AS source_partition, "
            f"toInt64(intDiv(i * 100, 4)) AS source_offset, {_time('at')} AS event_time, "
            f"{_coordinates(stream.topic('drift'), 'at', 'toInt64(i)', '0')} "
            f"FROM numbers_mt({readings})"
        ),
    )
    yield (
        "dead_letters",
        letters,
        (
            f"WITH number AS i, {same}, {FIRST_US} + toInt64(i * {step_us * 10_000!r}) AS at "
            "SELECT "
            f"'{stream.topic('events')}' AS source_topic, toInt32(i % 4) AS source_partition, "
            "toInt64(i) AS source_offset, 'decode' AS stage, 'truncated' AS error, 'it ends' AS "
            f"reason, 1 AS attempt, 'loans' AS model, '1' AS model_version, {_time('at')} AS "
            f"refused_at, '{stream.topic('dead_letters')}' AS kafka_topic, 0 AS kafka_partition, "
            f"toInt64(i) AS kafka_offset, {_time('at')} AS kafka_time, k AS kafka_key, "
            f"toStartOfHour({_time('at')}) AS kafka_block_time FROM numbers_mt({letters})"
        ),
    )
    yield (
        "outcomes",
        outcomes,
        (
            f"WITH number AS i, {same}, {FIRST_US} + toInt64(i * {step_us * 1_000!r}) AS at "
            "SELECT concat('L-', toString(i * 1001)) AS event_id, k AS key, '1' AS label, "
            f"{_time('at')} AS known_at, "
            f"{_coordinates(stream.topic('outcomes'), 'at', 'toInt64(i)', '0')} "
            f"FROM numbers_mt({outcomes})"
        ),
    )
