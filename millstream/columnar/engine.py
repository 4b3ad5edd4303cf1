"""Which of the implementations behind one interface is used."""

from __future__ import annotations

import logging
from functools import cache
from typing import Literal, TypeAlias

_log = logging.getLogger(__name__)

Engine: TypeAlias = Literal["kernel", "pyruhvro"]
"""What reads and writes batches; the values and verdicts are the same."""


@cache
def kernels_load() -> bool:
    """Whether the compiled kernels can be used; the first call compiles them or loads the cache.

    If not, one warning says why and what happens instead.
    """
    try:
        from millstream.columnar import kernel_reader, kernel_writer  # noqa: F401, PLC0415
    except Exception as error:  # noqa: BLE001 - numba and LLVM fail in many ways, all of them slow
        reason = " ".join(str(error).split())[:200]
        _log.warning("no compiled codec, pyruhvro is used: %s: %s", type(error).__name__, reason)
        return False
    return True
