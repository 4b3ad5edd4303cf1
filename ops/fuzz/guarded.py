"""Memory that ends where a page begins that nobody may touch: one byte too far ends the process."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_NONE: Final = 0  # PROT_NONE of POSIX
_ALIGNED: Final = 64


class Guarded:
    """One piece of memory of up to ``capacity`` bytes, used again and again."""

    def __init__(self, capacity: int) -> None:
        """Raises OSError where the page cannot be protected."""
        pages = -(-capacity // mmap.PAGESIZE)
        self._memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        self._end = pages * mmap.PAGESIZE
        self._view = np.frombuffer(self._memory, np.uint8)
        library = ctypes.CDLL(None, use_errno=True)
        page = ctypes.c_void_p(self._view.ctypes.data + self._end)
        if library.mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), _NONE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def holding(self, raw: bytes) -> npt.NDArray[np.uint8]:
        """The bytes, the last of them directly before the page; until the next call."""
        place = self._view[self._end - len(raw) : self._end]
        place[:] = np.frombuffer(raw, np.uint8)
        place.flags.writeable = False
        return place

    def allocate(self, size: int) -> Any:
        """A pyarrow.Buffer of at least so many bytes that ends at the page; until the next call."""
        size = -(-size // _ALIGNED) * _ALIGNED
        return pa.py_buffer(memoryview(self._memory)[self._end - size : self._end])
