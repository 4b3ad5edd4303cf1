"""Readings and incidents as columns of their contracts: what the watch publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from millstream.alerts.alarm import json_text
from millstream.columnar import arrow_schema
from millstream.contracts import contract
from millstream.drift.findings import InputWindow, Position
from millstream.drift.incident import Incident


@dataclass(frozen=True, slots=True)
class DriftRecord:
    """One measurement or decision, as schemas/drift.v1.avsc has it; `at` is where it stands."""

    stream: str
    detector: str
    signal: str
    measure: str
    status: Literal["reading", "warning", "alarm"]
    value: float
    at: Position
    threshold: float | None = None
    feature: str = ""
    slice: str = ""
    model_version: str = ""

    @property
    def id(self) -> str:
        """The same reading has the same id wherever it is computed: 64 hexadecimal digits."""
        parts = (
            self.stream,
            self.detector,
            self.signal,
            self.measure,
            self.feature,
            self.slice,
            self.model_version,
            self.status,
            str(self.at.partition),
            str(self.at.offset),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def drift_batch(records: Sequence[DriftRecord]) -> pa.RecordBatch:
    """[n] records as columns of the drift contract."""
    rows = [
        {
            "id": record.id,
            "stream": record.stream,
            "detector": record.detector,
            "signal": record.signal,
            "measure": record.measure,
            "status": record.status,
            "feature": record.feature,
            "slice": record.slice,
            "model_version": record.model_version,
            "value": record.value,
            "threshold": record.threshold,
            "source_partition": record.at.partition,
            "source_offset": record.at.offset,
            "event_time": record.at.time_us,
        }
        for record in records
    ]
    return _batch("drift", rows)


def incident_batch(incidents: Sequence[Incident]) -> pa.RecordBatch:
    """[n] revisions as columns of the incident contract."""
    rows = [
        {
            "id": one.id,
            "stream": one.stream,
            "verdict": str(one.verdict),
            "status": one.status,
            "cause": one.cause,
            "features": list(one.features),
            "slices": list(one.slices),
            "first_partition": one.first.partition,
            "first_offset": one.first.offset,
            "first_time": one.first.time_us,
            "updated_at": one.updated_us,
            "revision": one.revision,
            "evidence": json_text(one.evidence),
        }
        for one in incidents
    ]
    return _batch("incident", rows)


def input_records(stream: str, window: InputWindow) -> list[DriftRecord]:
    """What a window says: PSI, distance and nulls of each feature, moved features and signs."""
    made = []
    for place, name in enumerate(window.names):
        values = {
            "psi": float(window.psi[place]),
            "js": float(window.js[place]),
            "ks": float(window.ks[place]),
            "nulls": float(window.nulls[place]) / window.events,
        }
        made += [
            DriftRecord(
                stream, "inputs", "input", measure, "reading", value, window.last, None, name
            )
            for measure, value in values.items()
            if value == value  # noqa: PLR0124 - a category has no KS
        ]
    made += [
        DriftRecord(
            stream, "inputs", "input", "moved", "alarm", moved.distance, window.last,
            moved.threshold, moved.feature,
        )
        for moved in window.moved
    ]  # fmt: skip
    made += [
        DriftRecord(
            stream, "inputs", "input", sign.kind, "alarm", sign.value, window.last,
            sign.reference, sign.feature or sign.detail,
        )
        for sign in window.signs
    ]  # fmt: skip
    return made


def _batch(subject: str, rows: Sequence[Mapping[str, object]]) -> pa.RecordBatch:
    schema = arrow_schema(contract(subject).text)
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        time = pa.types.is_timestamp(field.type)
        columns.append(pa.array(values, pa.int64() if time else field.type).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
