"""Lengths of varints; whole records are measured in test_wire.py."""

from __future__ import annotations

import numpy as np

from millstream.columnar.measure import NINE_BYTES, NOT_ALLOWED, varint_bytes
from tests.millstream.columnar.drawn import varint


def test_varint_bytes_are_counted_at_every_border() -> None:
    """The length of a varint is right on both sides of every power of 128, and refused outside."""
    borders = [value for bits in range(6, 62, 7) for value in (2**bits - 1, 2**bits, -(2**bits))]
    values = np.array([[0, -1, *borders]], dtype=np.int64)
    limits = np.array([NINE_BYTES])
    assert varint_bytes(values, limits)[0].tolist() == [len(varint(v)) for v in [0, -1, *borders]]
    outside = np.array([[2**62, -(2**62) - 1, 2**63 - 1, -(2**63)]], dtype=np.int64)
    assert (varint_bytes(outside, limits) == NOT_ALLOWED).all()
