"""Arrays as JSON, exact to the bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from millstream.drift.state import packed, unpacked


def test_arrays_come_back_to_the_bit() -> None:
    """NaN, infinities, negative zero, whole numbers, flags, and a single number."""
    arrays = {
        "floats": np.array([[0.1, np.nan], [np.inf, -0.0]]),
        "whole": np.array([2**62, -1]),
        "flags": np.array([True, False]),
        "one": np.array(7),
        "none": np.zeros((3, 0)),
    }
    again = unpacked(json.loads(json.dumps(packed(arrays))))
    for name, array in arrays.items():
        assert again[name].tobytes() == array.tobytes()
        assert (again[name].shape, again[name].dtype) == (array.shape, array.dtype)


def test_objects_are_not_unpacked() -> None:
    """Only numbers and flags."""
    with pytest.raises(ValueError, match="element type"):
        unpacked({"x": ["|O", [1], ""]})
