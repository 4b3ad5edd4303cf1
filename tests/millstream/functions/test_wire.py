"""The bytes between ClickHouse and a function's script."""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

import numpy as np
import pytest

from millstream.errors import ContractMismatch
from millstream.functions import wire


class _Waiting(io.RawIOBase):
    """A pipe whose other side writes no more until it has its answers."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        found = self._content.read(len(into))
        assert found, "it asked for more than a chunk has"
        into[: len(found)] = found
        return len(found)


def chunk(*rows: tuple[bytes, ...]) -> bytes:
    """As ClickHouse sends it."""
    return f"{len(rows)}\n".encode() + b"".join(wire.text(cell) for row in rows for cell in row)


def test_chunks_are_read_row_by_row() -> None:
    """Empty texts, long ones, line feeds and digits in them; and a chunk without rows."""
    first = [(b"a", b""), (b"2\n", b"\x00" * 300), (b"x" * 20_000, b"(1,2)")]
    requests: BinaryIO = io.BytesIO(chunk(*first) + chunk() + chunk((b"b", b"c")))
    assert list(wire.chunks(requests, 2)) == [first, [], [(b"b", b"c")]]


def test_a_chunk_is_there_before_the_next_one_is_asked_for() -> None:
    """ClickHouse waits for the answers to it."""
    requests = io.BufferedReader(_Waiting(chunk((b"a", b"b"))))
    assert next(wire.chunks(requests, 2)) == [(b"a", b"b")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x\n", "without their number"),
        (b"-1\n", "without their number"),
        (b"2\n" + wire.text(b"a"), "fewer rows"),
        (b"1\n\x05ab", "fewer rows"),
        (b"1\n\xff\xff\xff\xff\x7f", "an argument of"),
    ],
)
def test_what_is_no_chunk_is_refused(content: bytes, says: str) -> None:
    """Instead of a wait for bytes that never come."""
    with pytest.raises(ContractMismatch, match=says):
        list(wire.chunks(io.BytesIO(content), 1))


def test_results_are_rowbinary() -> None:
    """Lengths of seven bits a byte; a null is one byte, a value follows a zero."""
    assert wire.text(b"") == b"\x00"
    assert wire.text(b"a" * 300) == b"\xac\x02" + b"a" * 300
    values = np.array([0.1, np.nan, -0.0])
    assert wire.nullable_doubles(values) == [
        b"\x00" + struct.pack("<d", 0.1),
        b"\x01",
        b"\x00" + struct.pack("<d", -0.0),
    ]
    assert wire.doubles(values[:1]) == b"\x01" + struct.pack("<d", 0.1)
    assert wire.nullable_text(None) == b"\x01"
    assert wire.nullable_text("é") == b"\x00\x02\xc3\xa9"
