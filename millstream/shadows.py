"""What models said that did not answer, as values of NAME.shadows (schemas/shadow.v1.avsc)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar import Encoder, arrow_schema, frame
from millstream.contracts import contract
from millstream.lineup import Voice
from millstream.models.bundle import Bundle
from millstream.records import Records
from millstream.stream import Stream

_CONSTANTS = ("release", "role", "model", "model_version", "model_digest", "source_topic")


class ShadowEncoder:
    """schema_id: the registry's id of the contract."""

    def __init__(self, stream: Stream, schema_id: int) -> None:
        self._event = stream.event
        self._prefix = frame(schema_id)
        whole = arrow_schema(contract("shadow").text)
        self._schema = pa.schema([field for field in whole if field.name not in _CONSTANTS])
        self._kinds = {field.name: field.type for field in self._schema}
        self._encoders: dict[tuple[int, str, str, str, str, str], Encoder] = {}

    def values(
        self,
        voice: Voice,
        release: int,
        columns: pa.RecordBatch,
        rows: npt.NDArray[np.int64],
        records: Records,
        now_us: int,
    ) -> tuple[npt.NDArray[np.int64], list[bytes]]:
        """Which rows of the records, and a value for each: what was scored, then what was refused.

        columns, rows: the decoded batch that the voice is of, and its rows among the records.
        """
        scored = voice.scored
        refused = {r.row: r.name for r in scored.refusals}
        none = len(refused)
        places = np.concatenate([scored.rows, np.fromiter(refused, np.int64, none)])
        if not len(places):
            return np.empty(0, np.int64), []
        picked, found = columns.take(pa.array(places)), rows[places]
        width, count = scored.scores.shape[1], len(scored.rows)
        ends = np.minimum(np.arange(len(places) + 1), count) * width
        nan = np.full(none, np.nan)
        kinds, event = self._kinds, self._event
        label = pa.concat_arrays([pc.cast(scored.label, pa.string()), pa.nulls(none, pa.string())])
        confidence = np.concatenate([scored.confidence, nan])
        made = {
            "event_id": pc.cast(picked.column(event.id), pa.string()),
            "event_time": pc.cast(picked.column(event.time), kinds["event_time"]),
            "scored_at": pa.array(np.full(len(places), now_us)).view(kinds["scored_at"]),
            "score": pa.array(np.concatenate([scored.score, nan])),
            "scores": pa.ListArray.from_arrays(
                pa.array(ends.astype(np.int32)),
                pa.array(np.ascontiguousarray(scored.scores).reshape(-1)),
                type=kinds["scores"],
            ),
            "label": label,
            "confidence": pa.array(confidence, from_pandas=True),
            "refused": pa.array([""] * count + list(refused.values()), pa.string()),
            "source_partition": pa.array(records.partitions[found]),
            "source_offset": pa.array(records.offsets[found]),
        }
        batch = pa.RecordBatch.from_arrays([made[name] for name in kinds], schema=self._schema)
        encoder = self._encoder(release, voice.role, voice.bundle, records.topic)
        return found, encoder.encode(batch)

    def _encoder(self, release: int, role: str, bundle: Bundle, topic: str) -> Encoder:
        values = (release, role, bundle.name, bundle.version, bundle.digest, topic)
        if values not in self._encoders:
            constants = dict(zip(_CONSTANTS, values, strict=True))
            text = contract("shadow").text
            self._encoders[values] = Encoder(text, self._prefix, constants=constants)
        return self._encoders[values]
