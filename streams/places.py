"""Where a Faust app's consumer is, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faust.types import TP

from consumers.metrics.instruments import kind_of
from millstream.metrics.store import Key, Store
from millstream.offsets import Partition


def show_places(
    store: Store, consumer: Any, topics: Sequence[str], at: Mapping[Partition, int]
) -> None:
    """How many partitions are this worker's, and how far the end of each is.

    consumer: Faust's, which knows the ends that it last fetched. at: offset of the next record of
    each partition that is ours; below 0 where nothing was taken.
    """
    assigned: dict[Key, float] = {(kind_of(topic),): 0.0 for topic in topics}
    lags: dict[Key, float] = {}
    for (topic, number), offset in at.items():
        assigned[kind_of(topic),] += 1
        end = consumer.highwater(TP(topic, number))
        if end is not None:
            lags[kind_of(topic), str(number)] = float(max(end - max(offset, 0), 0))
    store.only("millstream_partitions_assigned", assigned)
    store.only("millstream_lag_records", lags)
