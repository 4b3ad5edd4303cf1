"""What the watch says, as Kafka records of its two topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.columnar import Encoder, frame
from millstream.contracts import contract
from millstream.drift.incident import Incident
from millstream.drift.records import DriftRecord, drift_batch, incident_batch


@dataclass(frozen=True, slots=True)
class Written:
    """One Kafka record to be written. partition: -1 where its key decides."""

    partition: int
    key: bytes
    value: bytes


class Emitter:
    """Encodes them. drift_id, incident_id: the registry's ids of the contracts."""

    def __init__(self, drift_id: int, incident_id: int) -> None:
        self._drift = Encoder(contract("drift").text, frame(drift_id))
        self._incident = Encoder(contract("incident").text, frame(incident_id))

    def drift(self, found: Sequence[DriftRecord]) -> list[Written]:
        """Each on the partition of its event, keyed by its id."""
        values = self._drift.encode(drift_batch(found)) if found else []
        return [
            Written(each.at.partition, each.id.encode(), value)
            for each, value in zip(found, values, strict=True)
        ]

    def incidents(self, found: Sequence[Incident]) -> list[Written]:
        """Each keyed by its id, so that its revisions stay in order."""
        values = self._incident.encode(incident_batch(found)) if found else []
        return [
            Written(-1, each.id.encode(), value) for each, value in zip(found, values, strict=True)
        ]
