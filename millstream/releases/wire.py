"""Records of NAME.releases as Kafka values: framed Avro by schemas/release.v1.avsc."""

from __future__ import annotations

from collections.abc import Callable

from millstream.alerts import wire
from millstream.errors import MillstreamError, RecordRefused, Stage
from millstream.releases.release import Entry, entry_of


class Writer:
    """schema_id: the registry's id of the contract."""

    def __init__(self, schema_id: int) -> None:
        self._writer = wire.Writer("release", schema_id)

    def value(self, entry: Entry) -> bytes:
        """The framed value."""
        return self._writer.values([entry])[0]


class Reader:
    """schema_of: a writer's schema by its id."""

    def __init__(self, schema_of: Callable[[int], str]) -> None:
        self._reader = wire.Reader(schema_of)

    def entry(self, value: bytes | None) -> Entry:
        """Raises RecordRefused where it is none."""
        fields = self._reader.fields(value)
        try:
            return entry_of(fields)
        except (KeyError, TypeError, ValueError, MillstreamError) as why:
            reason = f"not what its contract says: {type(why).__name__}"
            raise RecordRefused(Stage.VALIDATE, "not_its_contract", reason) from None
