"""Python's garbage collector, kept out of the batches."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_A_RECORD = 10
"""That the collector may count for each record of a batch before it runs: the record, its headers,
and room for what earlier batches left."""


@contextmanager
def rare_collections(records_max: int) -> Iterator[None]:
    """Inside, the collector runs only after more new objects than a batch of `records_max` has, and
    never again over what was there before.

    A batch's records come and go by their reference counts; there is nothing to collect in them. By
    its defaults the collector looks at them, and at every object of every library, some 30 times in
    a batch of 20,000: two thirds of the time of `consume()`.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(before[0], OBJECTS_A_RECORD * records_max), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
