"""A consumed batch as columns: what Kafka says of its records, one array or list per attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Headers = Sequence[tuple[str, bytes | None]]
TIME_US_MIN = -2_208_988_800_000_000
TIME_US_MAX = 10_413_791_999_999_999
"""1900-01-01 and the last microsecond of 2299: the times that ClickHouse's DateTime64 holds."""
SCHEMA_ID_MAX = 2**31 - 1
"""A registry's ids are Java ints; what a frame says above that is no id."""


@dataclass(frozen=True, slots=True)
class Records:
    """n records of one topic, in the order in which they were consumed.

    values, keys: n bytes objects or None, as they were on Kafka.
    partitions: int32 [n]. offsets: int64 [n]. timestamps_us: int64 [n], UTC, -1 where
    unknown, TIME_US_MAX at most.
    headers: by row, only for rows that have any.
    """

    topic: str
    values: list[bytes | None]
    keys: list[bytes | None]
    partitions: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    timestamps_us: npt.NDArray[np.int64]
    headers: dict[int, Headers]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> Records:
        """Only these rows, in this order."""
        places = rows.tolist()
        return Records(
            self.topic,
            [self.values[row] for row in places],
            [self.keys[row] for row in places],
            self.partitions[rows],
            self.offsets[rows],
            self.timestamps_us[rows],
            {at: self.headers[row] for at, row in enumerate(places) if row in self.headers},
        )

    def next_offsets(self) -> dict[int, int]:
        """For each partition, the offset after its last record here."""
        order = np.unique(self.partitions)
        return {int(p): int(self.offsets[self.partitions == p].max()) + 1 for p in order}
