"""The compiled walk over a batch's columns: see tally.py, which says what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from millstream.columnar.compiled import kernel

_GIVEN = types.Array(types.float64, 2, "C", readonly=True)
_PLACES = types.Array(types.int64, 1, "C", readonly=True)
_F1, _F2 = types.float64[::1], types.float64[:, ::1]
_I1, _I2, _I3 = types.int64[::1], types.int64[:, ::1], types.int64[:, :, ::1]
_COUNTS = (_F2, _I1, _F1, _I2, _I2, _I1, _I1, _I3, _I2, _F1, _I1)


@kernel(types.void(_GIVEN, _PLACES, _PLACES, *_COUNTS))
def count_rows(  # noqa: PLR0913, PLR0917 - a kernel takes plain arrays
    matrix: Any, offsets: Any, times: Any, edges: Any, edge_counts: Any, others: Any, cells: Any,
    magnitudes: Any, logs: Any, runs: Any, marks: Any, longest_mark: Any, last: Any, run: Any,
) -> None:  # fmt: skip
    """Add the rows of [features, rows] to the counts."""
    rows = matrix.shape[1]
    null_cell = cells.shape[1] - 1
    for feature in range(matrix.shape[0]):
        values = matrix[feature]
        bits = values.view(np.int64)
        end = edge_counts[feature]
        before = last[feature]
        length = run[feature]
        for row in range(rows):
            value = values[row]
            if value != value:  # noqa: PLR0124 - NaN
                cells[feature, null_cell] += 1
                if marks[feature, 0, 0] < 0:
                    marks[feature, 0, 0] = offsets[row]
                    marks[feature, 0, 1] = times[row]
                length = 0
                before = value
                continue
            low, high = 0, end
            while low < high:
                middle = (low + high) >> 1
                if edges[feature, middle] < value:
                    low = middle + 1
                else:
                    high = middle
            cells[feature, low] += 1
            outside = low == end or (low == 0 and np.isnan(others[feature]))
            if outside and marks[feature, 1, 0] < 0:
                marks[feature, 1, 0] = offsets[row]
                marks[feature, 1, 1] = times[row]
            log = ((bits[row] >> 32) & 0x7FFFFFFF) - 1072693248
            if value != 0 and log < 1073741824:
                power = min(max((log >> 20) + 32, 0), 63)
                magnitudes[feature, power] += 1
                logs[feature] += log
            if value == before and value != others[feature]:
                length += 1
            else:
                length = 1
                marks[feature, 2, 0] = offsets[row]
                marks[feature, 2, 1] = times[row]
            before = value
            if length > runs[feature]:
                runs[feature] = length
                longest_mark[feature, 0] = marks[feature, 2, 0]
                longest_mark[feature, 1] = marks[feature, 2, 1]
        last[feature] = before
        run[feature] = length
