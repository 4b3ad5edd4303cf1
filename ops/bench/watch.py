"""`python -m ops.bench.watch`: how many events a second the whole drift watch follows on a core.

An event counts once its features, its prediction and its label are decoded, counted and judged:
`millstream.drift.watch.Watch` is fed what Kafka would hold, in batches, and the CPU time of the
process is measured. Kafka's client and the watch's own transaction are not in it. Each part is
measured by itself too, which names the bottleneck; a report is a file of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.drift.profile import Profile, make_profile
from millstream.drift.watch import Watch
from millstream.records import Records
from millstream.stream import Stream
from ops.bench.data import FLOATS, START_US, event_schema
from ops.bench.machine import Machine, describe, plain
from ops.bench.results import table

RESULTS: Final = Path(__file__).parent / "results"
PARTITIONS: Final = 4
EVENT, PREDICTION, LABELLED = 1, 2, 3
KINDS: Final = ("events", "predictions", "labelled")
RATE: Final = 100_000
"""Events in a second of their own time: what the goal asks for."""
DELAY_US: Final = 1_000_000
GOAL: Final = 100_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of features. whole: events a second of CPU, the median of all rounds; parts: of
    each topic by itself."""

    features: int
    whole: float
    rounds: tuple[float, ...]
    parts: dict[str, float]


def written(schema_id: int, text: str, columns: dict[str, Any], count: int) -> list[bytes]:
    """Framed values; what is not a column is the same in every row."""
    arrays = []
    for field in arrow_schema(text):
        given = columns.get(field.name)
        if not isinstance(given, list | np.ndarray):
            given = [given] * count
        stored = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        arrays.append(pa.array(given, stored).cast(field.type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(text))
    return Encoder(text, frame(schema_id)).encode(batch)


def stream_of(features: int, folder: Path) -> Stream:
    """A stream with so many features of its 30 doubles, watched by the monitor and the inputs."""
    (folder / "event.avsc").write_text(event_schema("floats"), "utf-8")
    (folder / "stream.toml").write_text(
        f"""name = "bench"
[event]
schema = "event.avsc"
key = "key"
id = "id"
time = "at"
[features]
order = {json.dumps(FLOATS[:features])}
[label]
kind = "binary"
[model]
bundle = "bundle"
[serving]
partitions = {PARTITIONS}
""",
        "utf-8",
    )
    return Stream.load(folder / "stream.toml")


class Logs:
    """What Kafka holds of `events` events, round robin over the partitions, in batches."""

    def __init__(self, stream: Stream, events: int, batch: int, seed: int = 0) -> None:
        self.stream = stream
        random = np.random.default_rng(seed)
        at = START_US + np.arange(events) * (1_000_000 // RATE)
        values = random.normal(0, 1, (len(FLOATS), events))
        wrong = random.random(events) < 0.1
        truth, sure = random.integers(0, 2, events), random.uniform(0.6, 0.95, events)
        said = np.where(wrong, 1 - truth, truth)
        places = np.arange(events)
        self._partitions = (places % PARTITIONS).astype(np.int32)
        self._offsets = places // PARTITIONS
        event = {"id": [f"e{n}" for n in range(events)], "key": "k", "at": at}
        event |= dict(zip(FLOATS, values, strict=True))
        answer = {
            "event_id": event["id"], "key": "k", "event_time": at, "published_at": at,
            "scored_at": at, "in_budget": True, "score": np.where(said == 1, sure, 1 - sure),
            "scores": [[0.5, 0.5]] * events, "confidence": sure, "model": "bench",
            "model_version": "1", "model_digest": "sha256:" + "0f" * 32,
            "source_topic": stream.topic("events"), "source_partition": self._partitions,
            "source_offset": self._offsets, "event_schema_id": EVENT, "answered_by": "full",
        }  # fmt: skip
        ids = [f"{n % PARTITIONS}/{n // PARTITIONS}/1" for n in range(events)]
        outcome = {"id": ids, "version": 1, "status": "labelled", "known_at": at}
        outcome |= {"label": truth.astype(str).tolist(), "predicted": said.astype(str).tolist()}
        answer["label"] = outcome["predicted"]
        self._values = {
            "events": written(EVENT, event_schema("floats"), event, events),
            "predictions": written(PREDICTION, contract("prediction").text, answer, events),
            "labelled": written(LABELLED, contract("labelled").text, answer | outcome, events),
        }
        self._times = {"events": at, "predictions": at + 5_000, "labelled": at + DELAY_US}
        self._batch = batch
        first = dict(zip(FLOATS, values[:, :5_000], strict=True))
        order = stream.features.order
        self.profile: Profile = make_profile("bench", order, {n: first[n] for n in order})

    def schema_of(self, schema_id: int) -> str:
        """The registry of this bench."""
        if schema_id == EVENT:
            return event_schema("floats")
        return contract({PREDICTION: "prediction", LABELLED: "labelled"}[schema_id]).text

    def batches(self, kinds: tuple[str, ...] = KINDS) -> Iterator[list[Records]]:
        """What a poll gives: a part of each topic."""
        for start in range(0, len(self._offsets), self._batch):
            yield [self._part(kind, slice(start, start + self._batch)) for kind in kinds]

    def _part(self, kind: str, rows: slice) -> Records:
        values: list[bytes | None] = [*self._values[kind][rows]]
        return Records(
            self.stream.topic(kind), values, [None] * len(values), self._partitions[rows],
            self._offsets[rows], self._times[kind][rows], {},
        )  # fmt: skip


def rate(logs: Logs, kinds: tuple[str, ...] = KINDS) -> float:
    """Events a second of CPU. The topics that are left out are at their ends."""
    watch = Watch(logs.stream, logs.schema_of, logs.profile, PARTITIONS)
    absent = [p for p in watch.partitions if p[0] not in {logs.stream.topic(k) for k in kinds}]
    polls = [[*batch] for batch in logs.batches(kinds)]
    events = sum(len(poll[0].values) for poll in polls)
    begun = time.process_time()
    for poll in polls:
        watch.take(poll, absent)
    watch.take([], watch.partitions, settled=True)
    spent = time.process_time() - begun
    tally = watch.tally
    counted = dict(zip(KINDS, (tally.events, tally.predictions, tally.labelled), strict=True))
    assert all(counted[kind] == events for kind in kinds), f"{tally} of {events}"
    return events / spent


def measure(features: int, events: int, batch: int, rounds: int) -> Measured:
    """One number of features."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Logs(stream_of(features, Path(folder)), events, batch)
        rate(logs)  # compiles
        found = sorted(rate(logs) for _ in range(rounds))
        parts = {kind: max(map(partial(rate, logs), [(kind,)] * rounds)) for kind in KINDS}
    return Measured(features, found[len(found) // 2], tuple(found), parts)


def write_report(
    found: list[Measured], machine: Machine, given: Namespace, now: datetime
) -> tuple[str, Path]:
    """The report, and where it lies."""
    rows = [
        [str(each.features), f"{each.whole:,.0f}", " ".join(f"{r:,.0f}" for r in each.rounds)]
        + [f"{each.parts[kind]:,.0f}" for kind in KINDS]
        for each in found
    ]
    head = ["features", "events/s", "rounds", *(f"{kind} alone" for kind in KINDS)]
    load = " ".join(f"{each:.1f}" for each in machine.load)
    slowest = min(KINDS, key=lambda kind: found[-1].parts[kind])
    reached = "reached" if found[-1].whole >= GOAL else "not reached"
    text = "\n\n".join(
        [
            f"# The drift watch, {now:%Y-%m-%d %H:%M} UTC",
            f"{machine.cpu}, {machine.cores} cores, load {load} at the start; {machine.commit}. "
            f"{given.events:,} events, each with its prediction and its label, {PARTITIONS} "
            f"partitions, batches of {given.batch:,}; events a second of the process's CPU, the "
            "median of all rounds; a part alone: the best.",
            table(head, rows),
            f"Goal: {GOAL:,} with {found[-1].features} features: {reached}. Most of the time goes "
            f"into the {slowest}. Not in it: Kafka's client and the watch's transaction.",
        ]
    )
    given.results.mkdir(parents=True, exist_ok=True)
    path: Path = given.results / f"watch-{now:%Y-%m-%d-%H%M%S}.md"
    assert not path.exists(), f"{path} is of the same second"
    path.write_text(plain(text) + "\n", "utf-8")
    return text, path


def main(argv: list[str]) -> None:
    """The command line."""
    parser = ArgumentParser(prog="python -m ops.bench.watch", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=10_000, help="records of each topic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, nargs="+", default=[9, 30])
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    given = parser.parse_args(argv)
    machine = describe()
    found = [measure(n, given.events, given.batch, given.rounds) for n in given.features]
    text, _ = write_report(found, machine, given, datetime.now(UTC))
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
