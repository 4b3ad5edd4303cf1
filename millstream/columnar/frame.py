"""The Confluent wire format around an Avro body: a zero byte, then the schema id in four bytes.

Source: Confluent Schema Registry, "Wire format"; the id is big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import numpy as np
import numpy.typing as npt

from millstream.errors import Refusal, Stage

MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
SCHEMA_ID_MAX: Final = 2**32 - 1

_head = itemgetter(slice(0, FRAME_BYTES))


@dataclass(frozen=True, slots=True)
class Framed:
    """A batch sorted by schema id; groups and refusals together name each row once.

    groups: schema id to the rows that carry it, ascending.
    refusals: Stage.FRAME, by row: ``empty_value`` or ``not_framed``.
    """

    groups: dict[int, npt.NDArray[np.int64]]
    refusals: tuple[Refusal, ...]


def frame(schema_id: int) -> bytes:
    """The five bytes before an Avro body. Raises ValueError if the id does not fit four bytes."""
    if not 0 <= schema_id <= SCHEMA_ID_MAX:
        raise ValueError(f"schema id {schema_id} does not fit in four bytes")
    return MAGIC + schema_id.to_bytes(4, "big")


def split_frames(values: Sequence[bytes | None]) -> Framed:
    """Group the rows of a batch by the schema id in front of their Avro bodies."""
    try:
        heads: set[bytes] = set(map(_head, values))  # type: ignore[arg-type]
    except TypeError:  # a null value cannot be sliced
        return _split_each(values)
    if len(heads) == 1:
        head = heads.pop()
        if len(head) == FRAME_BYTES and head[:1] == MAGIC:
            rows = np.arange(len(values), dtype=np.int64)
            return Framed({int.from_bytes(head[1:], "big"): rows}, ())
    return _split_each(values)


def _split_each(values: Sequence[bytes | None]) -> Framed:
    """The same row by row: several ids, or rows to refuse."""
    groups: dict[bytes, list[int]] = {}
    refusals: list[Refusal] = []
    for row, value in enumerate(values):
        if not value:
            refusals.append(
                Refusal(row, Stage.FRAME, "empty_value", "the record has no value, so no event")
            )
        elif len(value) < FRAME_BYTES or value[:1] != MAGIC:
            reason = "the value does not start with a zero byte and a four-byte schema id"
            refusals.append(Refusal(row, Stage.FRAME, "not_framed", reason))
        else:
            groups.setdefault(value[:FRAME_BYTES], []).append(row)
    return Framed(
        {
            int.from_bytes(head[1:], "big"): np.array(rows, dtype=np.int64)
            for head, rows in groups.items()
        },
        tuple(refusals),
    )
