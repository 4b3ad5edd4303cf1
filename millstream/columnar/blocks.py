"""Arrays of doubles, from the bytes of their blocks to a column of lists.

The compiled interpreter checks an array and keeps its bytes; here they become numbers. Every writer
that knows the length of an array writes one block: the number of items, the items, and a zero byte.
Columns of such arrays, of up to 63 items, are made at once, any other row by row.

Source: Apache Avro 1.12 specification, "Arrays".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.resolve import Items, Leaf, Plan
from millstream.columnar.rows import reader_of
from millstream.columnar.schema import Plain

_DOUBLE: Final = Plain("double")
_ONE_BYTE: Final = 0x80  # a length below it takes one byte
Bytes = npt.NDArray[np.uint8]


def is_doubles(plan: Plan) -> bool:
    """Whether these are lists of doubles, none of them null, written as doubles."""
    if not isinstance(plan, Items) or not isinstance(plan.items, Leaf):
        return False
    return plan.items.writer == plan.items.reader == _DOUBLE


def lists_of_doubles(blocks: Any, plan: Items) -> Any:
    """A pyarrow.ListArray of the plan's type, of n rows.

    blocks: pyarrow.BinaryArray [n] of whole arrays that were found to be undamaged.
    """
    offsets = np.frombuffer(blocks.buffers()[1], np.int32)[: len(blocks) + 1]
    data = blocks.buffers()[2]
    found = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    made = _one_block(offsets, found[: offsets[-1]])
    if made is None:
        read = reader_of(plan)
        return pa.array([read(row, 0)[0] for row in blocks.to_pylist()], plan.column)
    ends, values = made
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values), type=plan.column)


def _one_block(
    offsets: npt.NDArray[np.int32], data: Bytes
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]] | None:
    """Where each list ends, and all items; None where an array was written in another way."""
    rows = len(offsets) - 1
    if not rows:
        return np.zeros(1, np.int32), np.empty(0)
    sizes = offsets[1:] - offsets[:-1]
    heads = data[offsets[:-1]]
    counts = (heads >> 1).astype(np.int32)
    # an empty array is its zero byte alone
    expected = np.where(heads == 0, 1, 2 + 8 * counts)
    if ((heads & 1) != 0).any() or (heads >= _ONE_BYTE).any() or (sizes != expected).any():
        return None
    ends = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=ends[1:])
    if sizes[0] == sizes.min() == sizes.max():
        items = data.reshape(rows, -1)[:, 1:-1]
        return ends, np.ascontiguousarray(items).reshape(-1).view(np.float64)
    is_item = np.ones(len(data), bool)
    is_item[offsets[:-1]] = False
    is_item[offsets[1:] - 1] = False
    return ends, data[is_item].view(np.float64)
