"""Functions compiled once a machine, and what happens where they cannot be.

numba keeps the machine code in ``__pycache__`` beside the source (or in the user's cache, or in
NUMBA_CACHE_DIR), keyed by the source file's time and size, numba's version and the processor. The
helpers that a kernel calls are compiled into it and are no part of that key: so a kernel and all
that it calls, constants included, share one file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
# Nobody but a kernel calls it: a quarter of the time to compile is saved.
_INSIDE: Final[dict[str, Any]] = {
    "nogil": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def kernel(signature: Any) -> Callable[[F], F]:
    """Compile now, or load what an earlier process compiled. It runs without the GIL.

    Where no folder can be written for the cache, every process compiles for itself.
    """

    def compiled(function: F) -> F:
        made: Any
        try:
            made = numba.njit(signature, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):  # numba's words for: nowhere to write
            made = numba.njit(signature, nogil=True)(function)
        return cast(F, made)

    return compiled


def part(function: F) -> F:
    """A function that kernels of the same file call."""
    made: Any = numba.njit(**_INSIDE)(function)
    return cast(F, made)


def stamp_of(*files: str) -> int:
    """A number that changes with the files; a kernel that closes over it is compiled anew."""
    return zlib.crc32(b"".join(Path(file).read_bytes() for file in files))
