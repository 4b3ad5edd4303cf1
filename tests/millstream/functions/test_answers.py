"""What was scored, as the bytes of a function's results."""

from __future__ import annotations

import struct

import numpy as np

from millstream.functions.answers import ENCODERS, answers, scores
from millstream.functions.config import FUNCTIONS
from millstream.models.session import Session
from tests.millstream.models.graphs import BINARY, batch, bundle, identity


def test_a_row_that_was_refused_has_no_score_but_a_reason() -> None:
    """The others have what their prediction has."""
    session = Session(bundle(identity(width=2), ("a", "b"), **BINARY))
    scored = session.score(batch(a=[0.9, None, 0.2], b=[0.1, 0.5, 0.8]))
    session.close()
    why = {1: "validate: null_feature: feature 'a' is null"}
    first, second, third = scores(scored, why, 3, "m@1")
    assert first == b"\x00" + struct.pack("<d", 0.1)
    assert second == b"\x01"
    assert third == b"\x00" + struct.pack("<d", 0.8)
    first, second, third = answers(scored, why, 3, "m@1")
    pair = struct.pack("<2d", 0.9, 0.1)
    label, confidence = b"\x00\x02no", b"\x00" + struct.pack("<d", 0.9)
    assert first == b"\x00" + pair[8:] + b"\x02" + pair + label + confidence + b"\x00" + b"\x03m@1"
    text = why[1].encode()
    assert second == b"\x01\x00\x01\x01" + bytes([len(text)]) + text + b"\x03m@1"


def test_a_value_has_no_label_and_no_confidence() -> None:
    """Regression: both are null."""
    session = Session(bundle(identity()))
    (only,) = answers(session.score(batch(a=[2.5])), {}, 1, "m@1")
    session.close()
    value = struct.pack("<d", 2.5)
    assert only == b"\x00" + value + b"\x01" + value + b"\x01" + b"\x01" + b"\x00" + b"\x03m@1"
    assert np.frombuffer(only[1:9], "<f8")[0] == 2.5


def test_each_function_has_its_encoder() -> None:
    """Of the same name."""
    assert set(ENCODERS) == set(FUNCTIONS)
