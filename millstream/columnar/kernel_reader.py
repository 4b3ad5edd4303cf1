"""Batches through the compiled interpreter: records in, an Arrow batch of the good ones out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar import ipc, kernel_read
from millstream.columnar.blocks import is_doubles, lists_of_doubles
from millstream.columnar.program import Program, compiled
from millstream.columnar.resolve import Default, Fields, Items
from millstream.columnar.rows import repeat

Bytes: TypeAlias = npt.NDArray[np.uint8]

MANY_ROWS: Final = 200  # from here on pyarrow joins records faster than Python does
_OFFSET_MAX: Final = 2**31 - 1  # of a text in a column, and of a record in a batch


class KernelReader:
    """Reads batches by one plan."""

    def __init__(self, program: Program, plan: Fields, columns: Any) -> None:
        """columns: the reader's pyarrow.Schema."""
        self._columns = columns
        self._written = program.columns  # but for those that have a default
        head, message = ipc.template(program.columns)
        self._head = np.frombuffer(head, np.uint8)
        self._words = program.words.copy()
        self._words[kernel_read.BODY] = message.body
        self._words[kernel_read.BODY_LENGTH] = message.body_length
        self._words[kernel_read.ROWS] = message.rows
        self._words[kernel_read.NODES] = message.nodes
        self._words[kernel_read.BUFFERS] = message.buffers
        self._has_texts = program.texts > 0
        self._work = (1 + 2 * program.texts, 2 * len(program.widths) + program.depth)
        self._room = _reserved(program)
        self._defaults = [(i, p) for i, (_, p) in enumerate(plan.picks) if isinstance(p, Default)]
        picked = [plan.reads[p][1] for _, p in plan.picks if not isinstance(p, Default)]
        self._lists = [
            (i, of) for i, of in enumerate(picked) if isinstance(of, Items) and is_doubles(of)
        ]

    def read(self, values: Sequence[bytes], skip: int) -> tuple[Any, npt.NDArray[np.int64]]:
        """Columns of the good records, and their positions in ``values``, ascending.

        skip: bytes in front of each body. Raises OverflowError: read each half on its own.
        """
        return self.read_joined(*join(values), skip)

    def read_joined(
        self,
        joined: Bytes,
        ends: npt.NDArray[np.int32],
        skip: int,
        allocate: Callable[[int], Any] = pa.allocate_buffer,
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """The same for records that stand one behind the other.

        joined, ends: as `join` gives them. allocate: gives a pyarrow.Buffer of so many bytes, which
        can be written and begins at a multiple of 64.
        """
        count = len(ends) - 1
        size = len(self._head) + self._room[0] * count + self._room[1]
        size += len(joined) if self._has_texts else 0
        if size > _OFFSET_MAX:
            raise OverflowError
        arena = allocate(size)
        view = np.frombuffer(arena, np.uint8)
        view[: len(self._head)] = self._head
        work = np.empty(self._work[0] * count + self._work[1], np.int64)
        good = kernel_read.decode(joined, ends, skip, self._words, view, work)
        assert good >= 0, f"{size} bytes are too few for {count} records of {len(joined)} bytes"
        batch = pa.ipc.read_record_batch(arena, self._written)
        return self._whole(batch), work[:good].copy()

    def _whole(self, batch: Any) -> Any:
        """With the lists as lists, and the columns that have a default."""
        if not self._defaults and not self._lists:
            return batch
        columns = list(batch.columns)
        for place, of in self._lists:
            columns[place] = lists_of_doubles(columns[place], of)
        for place, default in self._defaults:
            columns.insert(place, repeat(default, batch.num_rows))
        return pa.RecordBatch.from_arrays(columns, schema=self._columns)


def kernel_reader(plan: Fields, columns: Any) -> KernelReader | None:
    """The reader for a plan; None where the plan has to be read otherwise (program.py)."""
    program = compiled(plan, columns)
    return None if program is None else KernelReader(program, plan, columns)


def _reserved(program: Program) -> tuple[int, int]:
    """Bytes for each record, and once for each batch, that columns and symbols take at most."""
    row_bytes = program.symbol_bytes
    for width in program.widths:
        row_bytes += 1 + {kernel_read.BITS: 1, kernel_read.TEXTS: 4}.get(width, max(0, width))
    # Validity (counted above as a byte), values, offsets and texts: each is rounded up.
    return row_bytes, 4 * ipc.ALIGNED * len(program.widths) + ipc.ALIGNED


def join(values: Sequence[bytes]) -> tuple[Bytes, npt.NDArray[np.int32]]:
    """All values in one string of bytes, and n + 1 offsets in it. Raises OverflowError."""
    count = len(values)
    if count < MANY_ROWS:
        text = b"".join(values)
        if len(text) > _OFFSET_MAX:
            raise OverflowError
        ends = np.fromiter(accumulate(map(len, values), initial=0), np.int32, count + 1)
        joined = np.frombuffer(text, np.uint8)
    else:
        array = pa.array(values, pa.binary())
        if isinstance(array, pa.ChunkedArray):
            raise OverflowError
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32)[: count + 1]
        joined = np.frombuffer(b"" if data is None else data, np.uint8)
    ends.flags.writeable = False
    joined.flags.writeable = False
    return joined, ends
