"""Streams for tests: the loans example with a model trained in a second, and its events."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.stream import Stream

LOANS = Path(__file__).resolve().parent.parent / "examples" / "loans"
FEATURES = (
    "salary",
    "commission",
    "age",
    "elevel",
    "car",
    "zipcode",
    "hvalue",
    "hyears",
    "loan",
)
START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Loans:
    """The stream on disk, and the model that its bundle was made of."""

    stream: Stream
    model: Any


def applications(count: int, seed: int = 1, first: int = 0) -> pa.RecordBatch:
    """`count` loan applications L-first.. as columns of the event schema."""
    rng = np.random.default_rng(seed)
    salary = rng.uniform(20_000, 150_000, count).round(2)
    columns = {
        "application_id": [f"L-{first + row}" for row in range(count)],
        "applicant": [f"A-{k}" for k in rng.integers(0, 500, count)],
        "applied_at": [START + timedelta(seconds=row) for row in range(count)],
        "salary": salary,
        "commission": np.where(salary >= 75_000, 0.0, rng.uniform(10_000, 75_000, count)),
        "age": rng.integers(20, 81, count).astype(np.int32),
        "elevel": rng.integers(0, 5, count).astype(np.int32),
        "car": rng.integers(1, 21, count).astype(np.int32),
        "zipcode": rng.integers(0, 9, count).astype(np.int32),
        "hvalue": rng.uniform(50_000, 900_000, count),
        "hyears": rng.integers(1, 31, count).astype(np.int32),
        "loan": rng.uniform(0, 500_000, count),
    }
    schema = arrow_schema((LOANS / "event.v1.avsc").read_text("utf-8"))
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def matrix(batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
    """[rows, features] in model order."""
    return np.column_stack([np.asarray(batch.column(name), np.float64) for name in FEATURES])


def framed(batch: pa.RecordBatch, schema_id: int) -> list[bytes]:
    """The Kafka values of these applications."""
    text = (LOANS / "event.v1.avsc").read_text("utf-8")
    return Encoder(text, frame(schema_id)).encode(batch)


def make_loans(folder: Path, trees: int = 20, version: str = "1") -> Loans:
    """The example's stream.toml and schema in `folder`, with a bundle of a LightGBM model."""
    import lightgbm

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copy(LOANS / name, folder / name)
    sample = applications(2_000, seed=7)
    x = matrix(sample)
    y = (x[:, 0] + x[:, 1] > 90_000) ^ (x[:, 2] > 60)
    model = lightgbm.LGBMClassifier(n_estimators=trees, num_leaves=15, verbose=-1, random_state=3)
    model.fit(x, y.astype(int))
    about = About(name="loans", version=version, created=START)
    make_bundle(folder / "bundle", model, [Feature(name=n) for n in FEATURES], x, about)
    return Loans(Stream.load(folder / "stream.toml"), model)


def bundle_of(loans: Loans) -> Bundle:
    """The stream's bundle."""
    return Bundle.load(loans.stream.bundle_path)
