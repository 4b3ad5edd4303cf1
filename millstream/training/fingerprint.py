"""A hash of rows: the same for the same values, wherever they were read from."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa

from millstream.models.card import Feature
from millstream.performance.metrics import Floats
from millstream.training.rows import Rows, as_table, number_column

_NAN: Final = np.float64(np.nan)


def hash_of_rows(rows: Rows) -> str:
    """`sha256:` and the hexadecimal hash of names, features, labels, times and when each was known.

    Numbers count as doubles, a null among them as NaN; texts by their UTF-8 with their lengths.
    """
    found = hashlib.sha256()
    table = as_table(rows.columns)
    for feature in rows.task.features:
        found.update(f"{feature.name}\0{feature.type == 'category'}\0".encode())
        found.update(_column(table, feature))
    if rows.task.kind == "regression":
        found.update(_numbers(rows.values))
    else:
        found.update(_texts(pa.array(rows.labels.tolist(), pa.string())))
    for times in (rows.times_us, rows.known_us):
        found.update(b"none" if times is None else times.astype("<i8").tobytes())
    return f"sha256:{found.hexdigest()}"


def _column(table: pa.Table, feature: Feature) -> bytes:
    if feature.type != "category":
        return _numbers(number_column(table, feature.name))
    column = table.column(feature.name).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return _texts(column.cast(pa.string()))


def _numbers(values: Floats) -> bytes:
    # every NaN is one, and -0.0 is 0.0: models and JSON do not tell them apart
    return (np.where(np.isnan(values), _NAN, values) + 0.0).astype("<f8").tobytes()


def _texts(column: pa.Array) -> bytes:
    encoded = [None if text is None else text.encode() for text in column.to_pylist()]
    lengths = np.array([-1 if text is None else len(text) for text in encoded], "<i8")
    return lengths.tobytes() + b"".join(text for text in encoded if text is not None)
