"""Rule A6: a sample of predictions is made again from event bytes and model, and must be equal.

Written from the bundle's card and ONNX Runtime alone, row by row where the scorer goes by columns:
an error would have to be made twice to stay unseen.
"""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from millstream.errors import BundleInvalid

_ELEMENTS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
FRAME = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """scores: one for each label, or the value alone. score and label as in a prediction."""

    scores: tuple[float, ...]
    score: float
    label: str | None


class Rescorer:
    """One bundle. folder: with model.onnx and bundle.toml. threads: as many as the scorer had.

    digest: sha256:... of the model's bytes. Raises BundleInvalid where it cannot be used.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        try:
            model = (folder / "model.onnx").read_bytes()
            self._card = tomllib.loads((folder / "bundle.toml").read_text("utf-8"))
        except (OSError, ValueError) as why:
            raise BundleInvalid(f"{folder} cannot be read: {why}", "Name a bundle folder") from None
        self.digest = "sha256:" + hashlib.sha256(model).hexdigest()
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._elements = {i.name: _ELEMENTS[i.type] for i in self._session.get_inputs()}
        except Exception as why:  # noqa: BLE001 - onnxruntime's errors have no root of their own
            said = " ".join(str(why).split())[:200]
            raise BundleInvalid(
                f"{folder}: ONNX Runtime refuses the model: {said}", "Export it again"
            ) from None

    def score(self, event: dict[str, Any]) -> Answer:
        """The model's answer to one event. Raises ValueError where there is none."""
        feeds = self._feeds(event)
        # two equal rows: ONNX Runtime's last odd row can differ from itself elsewhere by one bit
        feeds = {name: np.concatenate((array, array)) for name, array in feeds.items()}
        try:
            (answer,) = self._session.run([self._card["output"]["scores"]], feeds)
        except Exception as why:  # noqa: BLE001
            raise ValueError(f"the model fails: {type(why).__name__}") from None
        row = np.asarray(answer)[0].astype(np.float64).reshape(-1).tolist()
        return self._decide(row)

    def _feeds(self, event: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
        values = [_value(feature, event) for feature in self._card["features"]]
        tensor = self._card["input"].get("name")
        if tensor is not None:
            whole = np.array([[float(v) for v in values]], np.float64)
            return {tensor: whole.astype(self._elements[tensor])}
        return {
            feature["name"]: np.array([[value]], self._elements[feature["name"]])
            for feature, value in zip(self._card["features"], values, strict=True)
        }

    def _decide(self, row: list[float]) -> Answer:
        kind = self._card["kind"]
        if kind == "regression":
            return Answer(tuple(row), row[0], None)
        labels = self._card["labels"]
        if kind == "multiclass":
            best = int(np.argmax(row))
            return Answer(tuple(row), row[best], labels[best])
        at = labels.index(self._card["positive"])
        if len(row) == 1:
            row = [1.0 - row[0], row[0]] if at == 1 else [row[0], 1.0 - row[0]]
        yes = row[at] >= self._card["threshold"]
        return Answer(tuple(row), row[at], labels[at if yes else 1 - at])


def _value(feature: dict[str, Any], event: dict[str, Any]) -> Any:
    """A feature of an event, in the type that the card declares."""
    value = event.get(feature["name"])
    kind = feature.get("type", "number")
    if kind == "category":
        value = feature.get("missing_value") if value is None else value
        if value is None:
            raise ValueError(f"{feature['name']} is null")
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value is None:
        if feature.get("missing", "refuse") != "nan":
            raise ValueError(f"{feature['name']} is null")
        return float("nan")
    return value


class EventReader:
    """Framed Avro events by fastavro, resolved to the stream's own schema. Dates and times stay
    the numbers that Avro writes."""

    def __init__(self, reader: str) -> None:
        self._reader = _parsed(reader)
        self._writers: dict[int, Any] = {}

    def knows(self, schema_id: int) -> bool:
        """Whether `learn` has been told this schema."""
        return schema_id in self._writers

    def learn(self, schema_id: int, text: str) -> None:
        """What the registry says of a schema id."""
        self._writers[schema_id] = _parsed(text)

    def read(self, value: bytes) -> dict[str, Any]:
        """The event. Raises ValueError where it cannot be read."""
        schema_id = int.from_bytes(value[1:FRAME], "big")
        try:
            event: Any = fastavro.schemaless_reader(
                io.BytesIO(value[FRAME:]), self._writers[schema_id], self._reader
            )
        except Exception as why:  # noqa: BLE001 - fastavro raises whatever its decoding meets
            raise ValueError(f"the event cannot be read: {type(why).__name__}") from None
        return dict(event)


def _parsed(text: str) -> Any:
    return fastavro.parse_schema(_without_times(json.loads(text)))


def _without_times(schema: Any) -> Any:
    """The schema with its dates and times as plain numbers."""
    if isinstance(schema, list):
        return [_without_times(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    logical = str(schema.get("logicalType", ""))
    dropped = {"logicalType"} if "time" in logical or logical == "date" else set()
    return {
        key: _without_times(value) if key in {"type", "fields", "items", "values"} else value
        for key, value in schema.items()
        if key not in dropped
    }
