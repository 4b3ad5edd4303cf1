"""One life of the production sink on a real chDB, its Kafka in memory: the topic `t` has one
partition of so many records.

As a program: python -m tests.crash.one_sink CHDB_FOLDER RECORDS; it prints what became of them.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from confluent_kafka import Consumer

from consumers.kafka import consumer_config
from consumers.loop import Assignment, Loop
from consumers.sink import Sink
from consumers.warehouse import Tables, Warehouse, migrate
from millstream.doubles.broker import Kafka
from millstream.doubles.consumer import MemoryConsumer
from millstream.letters import DeadLetter, to_headers
from millstream.settings import KafkaSettings, SinkSettings, WarehouseSettings
from millstream.stream import Stream
from millstream.warehouse.rows import LetterRows

LOANS = Path(__file__).resolve().parents[2] / "examples" / "loans" / "stream.toml"
TOPIC = "t"
TABLE = "dead_letters"
STEPS_MAX = 200


class Until(threading.Event):
    """Set when something is true, or after STEPS_MAX looks."""

    def __init__(self, done: Callable[[], bool]) -> None:
        super().__init__()
        self._done = done
        self._left = STEPS_MAX

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0 or self._done()

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class World:
    """A topic of `records` records, and a clock that only waiting moves."""

    def __init__(self, records: int) -> None:
        self.now = 1_706_700_000.0  # the last of January 2024
        self.records = records
        self.kafka = Kafka(lambda: self.now, self._sleep)
        self.kafka.create_topic(TOPIC, 1)
        for offset in range(records):
            letter = DeadLetter("e", 0, offset, "decode", "bad", "bad", 1, 1, "m", "1", "")
            self.kafka.append((TOPIC, 0), b"k", b"v", to_headers(letter))

    def sink(self, name: str, tables: Tables, rows_max: int) -> tuple[Sink, Loop]:
        """A sink that believes the partition is its own: nobody shares its group."""
        config = consumer_config(KafkaSettings(), name, name)
        assignment = Assignment(cast(Consumer, MemoryConsumer(self.kafka, config)))
        settings = SinkSettings(block_rows_max=rows_max, block_age_ms_max=1)
        sink = Sink({TOPIC: LetterRows()}, tables, assignment, settings, self._clock)
        marks = Until(lambda: tables.marks(TABLE, TOPIC).get(0) == self.records - 1)
        return sink, Loop(assignment, sink, marks)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _clock(self) -> float:
        self.now += 0.05  # so that blocks ripen and waits end
        return self.now


def open_tables(folder: Path) -> Warehouse:
    """chDB in the folder, with the tables of the stream loans."""
    warehouse = Warehouse.connect(WarehouseSettings(url=f"chdb:{folder}"))
    migrate(warehouse, Stream.load(LOANS))
    return warehouse


def offsets(warehouse: Warehouse, topic: str = TOPIC) -> list[int]:
    """Of every row, ascending."""
    rows = warehouse.query(
        f"SELECT kafka_offset FROM loans.{TABLE} WHERE kafka_topic = {{t:String}} ORDER BY 1",
        t=topic,
    )
    return [int(offset) for (offset,) in rows]


def main() -> None:
    """One life: from the mark to the topic's end."""
    folder, records = Path(sys.argv[1]), int(sys.argv[2])
    warehouse = open_tables(folder)
    sink, loop = World(records).sink("sink", Tables(warehouse, "loans"), rows_max=5)
    loop.run()
    sys.stdout.write(
        json.dumps({"offsets": offsets(warehouse), "repeats": sink.tally.repeats}) + "\n"
    )
    warehouse.close()


if __name__ == "__main__":
    main()
