"""A stream's three topics for the tests of the watch, as the records that Kafka would hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.errors import RecordRefused, Stage
from millstream.offsets import Partition
from millstream.records import Records
from millstream.stream import Stream
from tests.streams import LOANS, applications, framed

EVENT, PREDICTION, LABELLED = 1, 2, 3
START_US = 1_704_067_200_000_000
PARTITIONS = 4


def schema_of(schema_id: int) -> str:
    """The registry of these tests."""
    if schema_id == EVENT:
        return (LOANS / "event.v1.avsc").read_text("utf-8")
    if schema_id in (PREDICTION, LABELLED):
        return contract({PREDICTION: "prediction", LABELLED: "labelled"}[schema_id]).text
    raise RecordRefused(Stage.FRAME, "unknown_schema_id", "unknown")


def stream_in(folder: Path, watch: str = "", kind: str = "binary") -> Stream:
    """The loans stream without a bundle, with these lines in [watch]."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(LOANS / "event.v1.avsc", folder)
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"binary"', f'"{kind}"')
    (folder / "stream.toml").write_text(f"{text}\n[watch]\n{watch}\n")
    return Stream.load(folder / "stream.toml")


def encoded(schema_id: int, columns: dict[str, Any], count: int) -> list[bytes]:
    """Framed values; a column that is not given is the same in every row, or null."""
    text = schema_of(schema_id)
    arrays = []
    for field in arrow_schema(text):
        given = columns.get(field.name)
        if not isinstance(given, list | np.ndarray):
            given = [given] * count
        stored = pa.int64() if pa.types.is_timestamp(field.type) else field.type
        arrays.append(pa.array(given, stored).cast(field.type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(text))
    return Encoder(text, frame(schema_id)).encode(batch)


@dataclass(frozen=True)
class Logs:
    """Records of every lane, each lane as one Records. events: how many there are."""

    stream: Stream
    lanes: dict[Partition, Records]

    def batches(self, random: np.random.Generator, start: dict[Partition, int]) -> Iterator[Any]:
        """(records, silent) from these offsets on, cut and interleaved at random."""
        places = {lane: start.get(lane, 0) for lane in self.lanes}
        while True:
            left = [lane for lane, at in places.items() if at < len(self.lanes[lane])]
            if not left:
                return
            picked = random.choice(len(left), size=random.integers(1, len(left) + 1), replace=False)
            taken: dict[str, list[tuple[int, int, int]]] = {}
            for lane in sorted(left[i] for i in picked):
                stop = min(places[lane] + int(random.integers(1, 900)), len(self.lanes[lane]))
                taken.setdefault(lane[0], []).append((lane[1], places[lane], stop))
                places[lane] = stop
            silent = {lane for lane, at in places.items() if at == len(self.lanes[lane])}
            yield [self._part(topic, cuts) for topic, cuts in taken.items()], silent

    def _part(self, topic: str, cuts: list[tuple[int, int, int]]) -> Records:
        values: list[bytes | None] = []
        partitions, offsets, times = [], [], []
        for number, begin, stop in cuts:
            lane = self.lanes[topic, number]
            values += lane.values[begin:stop]
            partitions.append(lane.partitions[begin:stop])
            offsets.append(lane.offsets[begin:stop])
            times.append(lane.timestamps_us[begin:stop])
        return Records(
            topic,
            values,
            [None] * len(values),
            np.concatenate(partitions),
            np.concatenate(offsets),
            np.concatenate(times),
            {},
        )


def records(topic: str, number: int, values: list[bytes], times: Any) -> Records:
    """A whole lane, offsets from 0."""
    count = len(values)
    return Records(
        topic,
        list(values),
        [None] * count,
        np.full(count, number, np.int32),
        np.arange(count, dtype=np.int64),
        np.asarray(times, np.int64),
        {},
    )


def make_logs(
    stream: Stream,
    count: int = 12_000,
    change: int | None = 8_000,
    *,
    rates: tuple[float, float] = (0.1, 0.4),
    delay: int = 500,
    releases: tuple[int, ...] = (),
    repeats: int = 0,
    runs: int = 0,
    where: Any = True,
    events: pa.RecordBatch | None = None,
    seed: int = 5,
) -> Logs:
    """`count` events, round robin over the partitions, a second apart.

    From event `change` on the share of wrong predictions is the second rate. delay: events until
    a label comes. releases: events from which versions 2, 3.. answer. repeats: labelled records
    that are written again at the end of each lane, as a join that was killed does. runs: events
    whose labels are written at once, one partition's behind another's, as a join that catches up
    does. where: the rows whose rate changes, [count].
    """
    random = np.random.default_rng(seed)
    table = applications(count, seed=seed) if events is None else events
    times = START_US + np.arange(count) * 1_000_000
    wrong = random.random(count) < np.where(
        (np.arange(count) < (count if change is None else change)) | ~np.asarray(where, bool),
        *rates,
    )
    truth = random.integers(0, 2, count)
    said = np.where(wrong, 1 - truth, truth)
    sure = random.uniform(0.6, 0.95, count)
    version = 1 + sum((np.arange(count) >= at).astype(int) for at in releases)
    drawn = {"truth": truth, "said": said, "sure": sure, "version": np.broadcast_to(version, count)}
    lanes = {}
    for number in range(PARTITIONS):
        rows = np.arange(number, count, PARTITIONS)
        answers, labelled = _written(stream, number, rows, times[rows], drawn)
        known = times[rows] + delay * 1_000_000 + random.integers(0, 20_000_000, len(rows))
        order = np.argsort(known, kind="stable")
        again = order[:repeats]
        known = np.concatenate((known[order], np.full(len(again), known.max() + 1)))
        order = np.concatenate((order, again))
        if runs:
            known = -(-known // (runs * 1_000_000)) * runs * 1_000_000 + number * 50_000
        kinds = {
            "events": (framed(table.take(pa.array(rows)), EVENT), times[rows]),
            "predictions": (answers, times[rows] + 5_000),
            "labelled": ([labelled[row] for row in order], known),
        }
        for kind, (values, stamps) in kinds.items():
            topic = stream.topic(kind)
            lanes[topic, number] = records(topic, number, values, stamps)
    return Logs(stream, lanes)


def _written(
    stream: Stream, number: int, rows: Any, times: Any, drawn: dict[str, Any]
) -> tuple[list[bytes], list[bytes]]:
    """Predictions and labelled records of one partition's rows."""
    mine, said = len(rows), drawn["said"][rows]
    sure = drawn["sure"][rows]
    picked = {
        "event_id": [f"L-{row}" for row in rows],
        "key": [f"A-{row % 7}" for row in rows],
        "event_time": times,
        "published_at": times,
        "scored_at": times + 5_000,
        "in_budget": True,
        "score": np.where(said == 1, sure, 1 - sure),
        "scores": [[0.5, 0.5]] * mine,
        "confidence": sure,
        "model": "loans",
        "model_version": drawn["version"][rows].astype(str).tolist(),
        "model_digest": "sha256:" + "0f" * 32,
        "source_topic": stream.topic("events"),
        "source_partition": number,
        "source_offset": np.arange(mine),
        "event_schema_id": 1,
        "answered_by": "full",
    }
    answers = picked | {"label": said.astype(str).tolist()}
    labels = picked | {
        "id": [f"{number}/{at}/1" for at in range(mine)],
        "version": 1,
        "status": "labelled",
        "label": drawn["truth"][rows].astype(str).tolist(),
        "predicted": said.astype(str).tolist(),
        "known_at": times,
    }
    return encoded(PREDICTION, answers, mine), encoded(LABELLED, labels, mine)
