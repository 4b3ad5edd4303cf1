"""Which partition a Kafka key lands on, so that a producer can be told before it publishes.

Source: Austin Appleby's MurmurHash2 (32 bits, seed 0x9747b28c), as Kafka's Java clients use it
(`org.apache.kafka.common.utils.Utils.murmur2`) and librdkafka's `murmur2_random` after them.
"""

from __future__ import annotations

from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_R: Final = 24
_MASK: Final = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The hash, unsigned.

    >>> hex(murmur2(b"kafka"))
    '0xd067cf64'
    """
    hashed = _SEED ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        part = int.from_bytes(key[at : at + 4], "little") * _M & _MASK
        part = (part ^ part >> _R) * _M & _MASK
        hashed = (hashed * _M & _MASK) ^ part
    if len(key) > whole:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    hashed = (hashed ^ hashed >> 13) * _M & _MASK
    return hashed ^ hashed >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, of so many."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
