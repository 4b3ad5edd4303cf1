"""The events and the models of the benchmark: three streams, drawn from a seed.

| stream | event | model |
|---|---|---|
| bench_a | 30 doubles, id, key and time: about 270 bytes | LightGBM, 100 trees of depth 6 |
| bench_b | the same | MLP 30-128-64-2 |
| bench_m | 34 fields: strings, nullable unions, ints, timestamps, enums | MLP over 18 of them |
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from millstream.columnar import arrow_schema
from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.stream import Guarantee, Stream

Shape = Literal["floats", "mixed"]
Floats = npt.NDArray[np.float64]

CHUNK = 50_000
START_US = 1_767_225_600_000_000
"""2026-01-01, UTC."""
TRAINING_ROWS = 20_000
TRAINING_SEED, EVENTS_SEED = 1, 2
FLOATS = tuple(f"f{number:02}" for number in range(30))
KINDS = {"kind": ("ORDER", "REFUND", "QUOTE"), "tier": ("A", "B", "C", "D"),
         "currency": ("EUR", "USD", "GBP", "JPY", "CHF")}  # fmt: skip
INTS = tuple(f"i{number}" for number in range(6))
LONGS = tuple(f"l{number}" for number in range(3))
SWITCHES = ("b0", "b1")
DOUBLES = tuple(f"d{number}" for number in range(5))
OPTIONAL = tuple(f"n{number}" for number in range(4))
WORDS = {"country": 2, "device": 10, "channel": 6, "merchant": 18}
OPTIONAL_WORDS = {"note": 90, "promo": 8}
LABELS = ("0", "1")


@dataclass(frozen=True, slots=True)
class Subject:
    """One stream of the benchmark: its letter, the shape of its events, its model in words."""

    letter: str
    shape: Shape
    model: str

    @property
    def stream(self) -> str:
        """The stream's name."""
        return f"bench_{self.letter}"


SUBJECTS = {
    "a": Subject("a", "floats", "LightGBM, 100 trees of depth 6"),
    "b": Subject("b", "floats", "MLP 30-128-64-2"),
    "m": Subject("m", "mixed", "MLP 18-128-64-2 behind a SimpleImputer"),
}


def event_schema(shape: Shape) -> str:
    """The Avro schema of the events, as JSON text."""
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "string"},
        {"name": "key", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ]
    if shape == "floats":
        fields += [{"name": name, "type": "double"} for name in FLOATS]
    else:
        fields += [{"name": name, "type": "string"} for name in WORDS]
        fields += [_optional(name, "string") for name in OPTIONAL_WORDS]
        fields += [
            {"name": name, "type": {"type": "enum", "name": name, "symbols": list(symbols)}}
            for name, symbols in KINDS.items()
        ]
        fields += [{"name": name, "type": "int"} for name in INTS]
        fields += [{"name": name, "type": "long"} for name in LONGS]
        fields += [{"name": name, "type": "boolean"} for name in SWITCHES]
        fields += [{"name": name, "type": "double"} for name in DOUBLES]
        fields += [_optional(name, "double") for name in OPTIONAL]
        fields.append(
            {"name": "opened", "type": {"type": "long", "logicalType": "timestamp-millis"}}
        )
        micros = {"type": "long", "logicalType": "timestamp-micros"}
        fields.append(_optional("seen", micros))
    return json.dumps({"type": "record", "name": "Event", "namespace": "bench", "fields": fields})


def _optional(name: str, of: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", of], "default": None}


def features(shape: Shape) -> list[Feature]:
    """The model's inputs, in its order."""
    if shape == "floats":
        return [Feature(name=name) for name in FLOATS]
    numbers = [Feature(name=name) for name in (*INTS, *LONGS)]
    numbers += [Feature(name=name) for name in DOUBLES]
    return numbers + [Feature(name=name, missing="nan") for name in OPTIONAL]


def chunk(shape: Shape, number: int, rows: int = CHUNK, seed: int = EVENTS_SEED) -> pa.RecordBatch:
    """Events number * CHUNK and the `rows` that follow, as columns of the event schema.

    The same arguments give the same events; an event's id is e and its position in the stream.
    """
    rng = np.random.default_rng([seed, number])
    first = number * CHUNK
    columns: dict[str, Any] = {
        "id": [f"e{first + row}" for row in range(rows)],
        "key": [f"k{value:04}" for value in rng.integers(0, 5_000, rows)],
        "at": START_US + 1_000 * np.arange(first, first + rows),
    }
    if shape == "floats":
        columns |= {name: rng.normal(0, 1, rows) for name in FLOATS}
    else:
        columns |= _mixed(rng, rows, columns["at"])
    schema = arrow_schema(event_schema(shape))
    arrays = [_array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def events(shape: Shape, count: int) -> Iterator[pa.RecordBatch]:
    """The first `count` events of a stream, in chunks."""
    for number in range(-(-count // CHUNK)):
        yield chunk(shape, number, min(CHUNK, count - number * CHUNK))


def _mixed(rng: np.random.Generator, rows: int, at: npt.NDArray[np.int64]) -> dict[str, Any]:
    def words(length: int, share_null: float = 0.0) -> list[str | None]:
        known = ["".join(rng.choice(list("abcdefghijklmnop"), length)) for _ in range(200)]
        picked = rng.integers(0, len(known), rows)
        gone = rng.random(rows) < share_null
        return [
            None if g else known[p] for p, g in zip(picked.tolist(), gone.tolist(), strict=True)
        ]

    columns: dict[str, Any] = {name: words(length) for name, length in WORDS.items()}
    columns |= {name: words(length, 0.3) for name, length in OPTIONAL_WORDS.items()}
    for name, symbols in KINDS.items():
        columns[name] = [symbols[value] for value in rng.integers(0, len(symbols), rows).tolist()]
    columns |= {name: rng.integers(-1_000, 1_000_000, rows).astype(np.int32) for name in INTS}
    columns |= {name: rng.integers(0, 2**40, rows) for name in LONGS}
    columns |= {name: rng.random(rows) < 0.5 for name in SWITCHES}
    columns |= {name: rng.normal(0, 1, rows) for name in DOUBLES}
    for name in OPTIONAL:
        columns[name] = pa.array(rng.normal(0, 1, rows), mask=rng.random(rows) < 0.1)
    columns["opened"] = at // 1_000 - rng.integers(0, 10**9, rows)
    columns["seen"] = pa.array(at - 1_000_000, mask=rng.random(rows) < 0.2)
    return columns


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return array if array.type == kind else array.cast(kind)


def matrix(batch: pa.RecordBatch, shape: Shape) -> Floats:
    """[rows, features] in model order; NaN for a null."""
    columns = [
        batch.column(feature.name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        for feature in features(shape)
    ]
    return np.column_stack(columns)


def train(subject: Subject) -> tuple[Any, Floats]:
    """The fitted model, and rows it has not seen to compare its ONNX form on."""
    batch = chunk(subject.shape, 0, TRAINING_ROWS, TRAINING_SEED)
    rows = matrix(batch, subject.shape)
    clean = np.nan_to_num(rows)
    scaled = (clean - clean.mean(0)) / clean.std(0)
    weights = np.random.default_rng(3).normal(0, 1, rows.shape[1])
    truth = (scaled @ weights + np.sin(3 * scaled[:, 0]) > 0).astype(int)
    if subject.letter == "a":
        import lightgbm  # noqa: PLC0415 - training takes its time to import

        model: Any = lightgbm.LGBMClassifier(
            n_estimators=100, max_depth=6, num_leaves=63, random_state=0, verbose=-1, n_jobs=1
        )
    else:
        model = _network(subject.shape)
    with threadpool_limits(1), warnings.catch_warnings():  # more threads spin on a shared machine
        warnings.simplefilter("ignore")  # six rounds do not converge, and need not
        model.fit(rows, truth)
    return model, matrix(chunk(subject.shape, 1, 2_000, TRAINING_SEED), subject.shape)


def _network(shape: Shape) -> Any:
    from sklearn.impute import SimpleImputer  # noqa: PLC0415
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    network = MLPClassifier((128, 64), max_iter=6, random_state=0)
    if shape == "floats":
        return network
    return make_pipeline(SimpleImputer(), StandardScaler(), network)


def write_stream(subject: Subject, folder: Path, name: str, partitions: int) -> dict[str, Path]:
    """A stream on disk: its schema, its bundle, and one stream.toml for each guarantee.

    A bundle that is there already is kept. Returns guarantee -> stream.toml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "event.avsc").write_text(event_schema(subject.shape), "utf-8")
    order = json.dumps([feature.name for feature in features(subject.shape)])
    files: dict[str, Path] = {}
    guarantees: tuple[Guarantee, ...] = ("exactly_once", "at_least_once")
    for guarantee in guarantees:
        text = "\n".join(
            [
                f'name = "{name}"',
                '[event]\nschema = "event.avsc"\nkey = "key"\nid = "id"\ntime = "at"',
                f"[features]\norder = {order}",
                '[label]\nkind = "binary"',
                '[model]\nbundle = "bundle"',
                f'[serving]\npartitions = {partitions}\nguarantee = "{guarantee}"\n',
            ]
        )
        files[guarantee] = folder / f"{guarantee}.toml"
        files[guarantee].write_text(text, "utf-8")
    stream = Stream.load(files["exactly_once"])
    if not (stream.bundle_path / "bundle.toml").exists():
        model, sample = train(subject)
        about = About(name=name, version="1", created=datetime.now(UTC))
        make_bundle(stream.bundle_path, model, features(subject.shape), sample, about)
    Bundle.load(stream.bundle_path)
    return files
