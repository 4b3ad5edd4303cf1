"""Where a key lands."""

from __future__ import annotations

import pytest

from millstream.contract.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_hash_as_kafkas_java_clients_hash_them(key: bytes, hashed: int) -> None:
    """The examples of Apache Kafka's own UtilsTest."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


def test_a_key_lands_on_one_of_the_partitions() -> None:
    """A hash whose first bit is set is no partition below zero."""
    assert {partition_of(str(n).encode(), 3) for n in range(100)} == {0, 1, 2}
    assert partition_of(b"21", 1) == 0
