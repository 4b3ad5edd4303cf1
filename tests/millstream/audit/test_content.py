"""Rows that say something else than their records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from millstream.audit.content import bits, differing


def test_equal_columns_have_no_difference() -> None:
    """Nulls and NaNs are equal to themselves."""
    offsets = np.array([1, 2, 3])
    said: dict[str, list[Any]] = {"label": ["yes", None, "no"], "score": [0.5, math.nan, -0.0]}
    assert differing(offsets, said, offsets, {n: list(c) for n, c in said.items()}) == {}


def test_each_differing_row_names_its_columns() -> None:
    """By offset, ascending; other rows are not named."""
    offsets = np.array([5, 6, 9])
    said: dict[str, list[Any]] = {"label": ["a", "b", "c"], "score": [1.0, 2.0, 3.0]}
    rows: dict[str, list[Any]] = {"label": ["a", "x", "c"], "score": [1.5, 2.5, 3.0]}
    assert differing(offsets, said, offsets, rows) == {5: ["score"], 6: ["label", "score"]}


def test_missing_and_extra_rows_are_not_compared_and_doubled_ones_each_are() -> None:
    """Row 6 is missing, row 7 has no record, of the two rows of 9 one is wrong."""
    said: dict[str, list[Any]] = {"label": ["a", "b", "c"]}
    rows: dict[str, list[Any]] = {"label": ["a", "?", "c", "x"]}
    where = np.array([5, 7, 9, 9])
    assert differing(np.array([5, 6, 9]), said, where, rows) == {9: ["label"]}


def test_bits_tell_zeros_apart_and_keep_nulls() -> None:
    """-0.0 is not 0.0; a null stays one."""
    assert bits([0.0, -0.0, None]) == [0, -(2**63), None]
