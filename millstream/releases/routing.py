"""Which keys a canary answers: the same keys always, and whoever is in stays in as it grows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

_STEPS = 1 << 53


def route(keys: Sequence[bytes | None], share: float, salt: str = "") -> npt.NDArray[np.bool_]:
    """bool [n]: whether the challenger answers events of these keys (None is as an empty key).

    salt: another one is another choice of keys; the scorer gives the challenger's digest. CRC-32
    of the key begun with the salt's, then the finalizer of MurmurHash3 (Appleby, 2011), as a
    fraction of one; a key is in where that is below the share.

    >>> route([b"A-1", b"A-2", b"A-3", b"A-4"], 0.5).tolist()
    [False, True, False, True]
    """
    start = zlib.crc32(salt.encode())
    hashed = np.fromiter(
        map(zlib.crc32, (key or b"" for key in keys), repeat(start)), np.uint64, len(keys)
    )
    # the salt once more: CRCs of keys of one length differ by the same bits whatever their start
    hashed ^= np.uint64(start << 32)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashed ^= hashed >> np.uint64(33)
        hashed *= np.uint64(factor)
    hashed ^= hashed >> np.uint64(33)
    return np.asarray((hashed >> np.uint64(11)) < np.uint64(share * _STEPS))
