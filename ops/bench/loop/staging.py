"""A bench stream as a stream of Millstream's: stream.toml, event schema, models, Kafka's values.

Row i is the event of offset i, of the only partition; events happen SPACING_S apart. The first
model is the one-process bench's: the same rows, family and parameters.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from consumers.registry import Registry, subject_of
from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.models.bundle import Bundle
from millstream.models.card import Feature, Kind
from millstream.models.package import issue_passport
from millstream.models.proof import Facts
from millstream.models.session import Session
from millstream.stream import Stream
from millstream.training.candidate import fit
from millstream.training.rows import Rows, Task
from ops.bench.loop.models import PARAMETERS
from ops.bench.loop.streams import Ints
from ops.bench.loop.streams import Stream as Data

SPACING_S: Final = 3
"""Event time between two events: a week has 201,600, and the watch may be wrong once in it, as
often as the policy's own detector."""
PLACEHOLDER_ROWS: Final = 500
"""The model that answers the warm-up, so that the first model meets no row that it was fitted on:
the watch would take its errors there for those to come."""
KEYS: Final = 997
FIRST: Final = "first"
PLACEHOLDER: Final = "placeholder"


@dataclass(frozen=True, slots=True)
class Terms:
    """What [retrain] is told. schedule: labels between two retrainings. trial: with shadow, judge
    and canary."""

    schedule: int
    trial: bool


class Staged:
    """One stream in a folder of its own. begin_us: when its first event happens."""

    def __init__(self, data: Data, folder: Path, terms: Terms, begin_us: int) -> None:
        self.data = data
        places: Ints = np.arange(len(data), dtype=np.int64)
        self.times_us: Ints = begin_us + places * SPACING_S * 1_000_000
        self.names = names_of(data)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "event.v1.avsc").write_text(json.dumps(event_schema(data.name, self.names)))
        path = folder / "stream.toml"
        path.write_text(stream_toml(data, self.names, terms), "utf-8")
        self.stream = Stream.load(path)
        labels = tuple(str(code) for code in range(int(data.labels.max()) + 1))
        binary = len(labels) == 2
        features = tuple(Feature(name=name, missing="nan") for name in self.names)
        kind: Kind = "binary" if binary else "multiclass"
        self._task = Task(kind, features, labels, labels[1] if binary else None)
        self._folder = folder

    def placeholder(self) -> Bundle:
        """The bundle that stream.toml names."""
        rows = min(PLACEHOLDER_ROWS, self.data.warm_up // 2)
        return self._made(self.stream.bundle_path, rows, PLACEHOLDER, passport=False)

    def first(self) -> Bundle:
        """The model of the warm-up, with its passport."""
        return self._made(self._folder / FIRST, self.data.warm_up, FIRST, passport=True)

    def events(self, registry: Registry) -> list[bytes]:
        """Every event's Kafka value."""
        text, topic = self.stream.schema_of_event.text, self.stream.topic("events")
        columns = [*self._named(), *(pa.array(each) for each in self.data.features.T)]
        return _encoded(registry, topic, text, columns)

    def outcomes(self, registry: Registry, delay: int) -> list[bytes]:
        """Every outcome's, known when the event `delay` later happens."""
        ids, keys, _ = self._named()
        labels = pa.array(self.data.labels.astype(str).tolist())
        known = pa.array(self.times_us + delay * SPACING_S * 1_000_000)
        nulls = pa.nulls(len(self.data), pa.float64())
        text, topic = contract("outcome").text, self.stream.topic("outcomes")
        return _encoded(registry, topic, text, [ids, keys, labels, nulls, known])

    def kafka_keys(self) -> list[bytes]:
        """Every row's Kafka key."""
        return [key.encode() for key in self._named()[1].to_pylist()]

    def said(self, bundle: Bundle, begin: int) -> list[str]:
        """Labels that a bundle's own session gives to the rows from `begin` on."""
        part = self.data.features[begin:]
        columns = [pa.array(part[:, n]) for n in range(len(self.names))]
        session = Session(bundle)
        try:
            scored = session.score(pa.RecordBatch.from_arrays(columns, names=list(self.names)))
        finally:
            session.close()
        assert len(scored.rows) == len(part), "a row was refused"
        found: list[str] = scored.label.to_pylist()
        return found

    def _named(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        rows = range(len(self.data))
        ids = pa.array([f"e-{row}" for row in rows])
        keys = pa.array([f"k-{row % KEYS}" for row in rows])
        return ids, keys, pa.array(self.times_us)

    def _made(self, folder: Path, rows: int, version: str, *, passport: bool) -> Bundle:
        columns = pa.table({n: self.data.features[:rows, i] for i, n in enumerate(self.names)})
        texts = self.data.labels[:rows].astype(str).astype(object)
        taken = Rows(self._task, columns, texts, self.times_us[:rows])
        made = fit(taken, "lightgbm", PARAMETERS)
        now = datetime.now(UTC)
        sample = taken.take(slice(max(rows - 2_000, 0), None))
        bundle = made.bundle(folder, sample, name=self.stream.name, version=version, created=now)
        if passport:
            said = issue_passport(bundle, made, sample.columns.to_pandas(), Facts(issued=now))
            assert said.passed, said.first_failure
        return bundle


def names_of(data: Data) -> list[str]:
    """The features' names as Avro takes them."""
    names = [re.sub(r"\W", "_", name) for name in data.names]
    names = [name if re.match(r"[A-Za-z_]", name) else f"x_{name}" for name in names]
    assert len({*names, "event_id", "key", "event_time"}) == len(names) + 3, names
    return names


def event_schema(name: str, features: list[str]) -> dict[str, Any]:
    """Avro: id, key, time, and a double for each feature."""
    time = {"type": "long", "logicalType": "timestamp-micros"}
    return {
        "type": "record",
        "name": "Event",
        "namespace": name,
        "fields": [
            {"name": "event_id", "type": "string"},
            {"name": "key", "type": "string"},
            {"name": "event_time", "type": time},
            *({"name": feature, "type": "double"} for feature in features),
        ],
    }


def stream_toml(data: Data, features: list[str], terms: Terms) -> str:
    """The same for all streams, but for their features and how many labels there are."""
    kind = "binary" if int(data.labels.max()) == 1 else "multiclass"
    parameters = "\n".join(f"{key} = {value}" for key, value in PARAMETERS.items())
    return f"""name = "{data.name}"

[event]
schema = "event.v1.avsc"
key = "key"
id = "event_id"
time = "event_time"

[features]
order = {json.dumps(features)}

[label]
kind = "{kind}"

[model]
bundle = "{PLACEHOLDER}"

[serving]
partitions = 1

[watch]
inputs = false

[retrain]
schedule_labels = {terms.schedule}
rows_max = 25000
shadow = {str(terms.trial).lower()}

[retrain.parameters]
{parameters}
"""


def _encoded(registry: Registry, topic: str, text: str, columns: list[pa.Array]) -> list[bytes]:
    """columns: in the schema's order."""
    schema = arrow_schema(text)
    arrays = [column.cast(f.type) for column, f in zip(columns, schema, strict=True)]
    schema_id = registry.register(subject_of(topic), text)
    encoder = Encoder(text, frame(schema_id))
    return encoder.encode(pa.RecordBatch.from_arrays(arrays, schema=schema))
