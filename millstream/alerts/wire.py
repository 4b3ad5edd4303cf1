"""Alarms, silences and incidents as Kafka values: framed Avro by their contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from millstream.alerts.alarm import Alarm
from millstream.alerts.incident import Incident
from millstream.alerts.silence import Silence
from millstream.columnar import (
    FRAME_BYTES,
    Encoder,
    arrow_schema,
    frame,
    make_decoder,
    split_frames,
)
from millstream.columnar.decoded import Decoder
from millstream.contracts import contract
from millstream.errors import MillstreamError, RecordRefused, Refusal, Stage

T = TypeVar("T")
SchemaOf = Callable[[int], str]
"""The writer's schema of an id; raises RecordRefused where there is none."""


class Said(Protocol):
    """What can be written by a contract."""

    def fields(self) -> dict[str, Any]:
        """Its values by the contract's names."""
        ...


class Writer:
    """Writes the values of one contract, such as alarm or silence."""

    def __init__(self, subject: str, schema_id: int) -> None:
        text = contract(subject).text
        self._schema = arrow_schema(text)
        self._encoder = Encoder(text, frame(schema_id))

    def values(self, said: Sequence[Said]) -> list[bytes]:
        """One Kafka value each."""
        fields = [each.fields() for each in said]
        arrays = [
            pa.array([row[f.name] for row in fields], _stored(f.type)).cast(f.type)
            for f in self._schema
        ]
        return self._encoder.encode(pa.RecordBatch.from_arrays(arrays, schema=self._schema))


class Reader:
    """Reads values by their own writer's schema, one at a time: they are few."""

    def __init__(self, schema_of: SchemaOf) -> None:
        self._schema_of = schema_of
        self._decoders: dict[int, Decoder] = {}

    def alarm(self, value: bytes | None) -> Alarm:
        """Raises RecordRefused where it is none."""
        return self._made(value, Alarm.of)

    def silence(self, value: bytes | None) -> Silence:
        """As `alarm`."""
        return self._made(value, Silence.of)

    def incident(self, value: bytes | None) -> Incident:
        """As `alarm`."""
        return self._made(value, Incident.of)

    def _made(self, value: bytes | None, make: Callable[[Mapping[str, Any]], T]) -> T:
        fields = self.fields(value)
        try:
            return make(fields)
        except (KeyError, TypeError, ValueError, MillstreamError) as why:
            reason = f"not what its contract says: {type(why).__name__}"
            raise RecordRefused(Stage.VALIDATE, "not_its_contract", reason) from None

    def fields(self, value: bytes | None) -> dict[str, Any]:
        """The record's values. Raises RecordRefused where it cannot be read."""
        framed = split_frames([value])
        _raise_first(framed.refusals)
        assert value is not None  # it has a frame
        (schema_id,) = framed.groups
        if schema_id not in self._decoders:
            self._decoders[schema_id] = make_decoder(self._schema_of(schema_id))
        decoded = self._decoders[schema_id].decode([value], FRAME_BYTES)
        _raise_first(decoded.refusals)
        fields: dict[str, Any] = decoded.columns.to_pylist()[0]
        return fields


def _raise_first(refusals: Sequence[Refusal]) -> None:
    for refusal in refusals:
        raise RecordRefused(refusal.stage, refusal.name, refusal.reason)


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(kind) else kind
