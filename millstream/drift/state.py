"""Arrays as JSON, exact to the bit: what a state's snapshot is made of."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES = {"<f8", "<i8", "<i2", "|b1"}


def packed(arrays: Mapping[str, Any]) -> dict[str, list[Any]]:
    """name -> [element type, shape, base64 of the compressed bytes]."""
    made = {}
    for name, array in arrays.items():
        flat = np.asarray(array)
        assert flat.dtype.str in _TYPES, f"{name} is of {flat.dtype.str}"
        body = base64.b64encode(zlib.compress(flat.tobytes(), 1)).decode("ascii")
        made[name] = [flat.dtype.str, list(flat.shape), body]
    return made


def unpacked(texts: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """What `packed` was given. Raises ValueError where it is not that."""
    made = {}
    for name, (element, shape, body) in texts.items():
        if element not in _TYPES:
            raise ValueError(f"{name} has the element type {element}")
        raw = zlib.decompress(base64.b64decode(body, validate=True))
        made[name] = np.frombuffer(raw, np.dtype(element)).reshape(shape).copy()
    return made
