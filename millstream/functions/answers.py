"""What was scored, as the result of a function: one entry of bytes for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from millstream.functions import wire
from millstream.models.session import Scored

Encode = Callable[[Scored, Mapping[int, str], int, str], list[bytes]]
"""What was scored of n rows, why the others were not (by row), n, NAME@VERSION of the model: the n
results' bytes."""


def scores(scored: Scored, refused: Mapping[int, str], count: int, model: str) -> list[bytes]:
    """The predictions' `score`; null for a row that was refused."""
    found = np.full(count, np.nan)
    found[scored.rows] = scored.score
    return wire.nullable_doubles(found)


def answers(scored: Scored, refused: Mapping[int, str], count: int, model: str) -> list[bytes]:
    """Score, scores, label and confidence of the predictions; else why a row was refused; and which
    model said so."""
    nothing = wire.NULL + b"\x00" + wire.NULL + wire.NULL  # score, scores, label, confidence
    found, said_by = [b""] * count, wire.text(model.encode())
    for row, why in refused.items():
        found[row] = nothing + wire.text(why.encode()) + said_by
    first = wire.nullable_doubles(scored.score)
    confidences = wire.nullable_doubles(scored.confidence)
    labels = scored.label.to_pylist()
    for place, row in enumerate(scored.rows.tolist()):
        found[row] = b"".join(
            (
                first[place],
                wire.doubles(scored.scores[place]),
                wire.nullable_text(labels[place]),
                confidences[place],
                b"\x00",  # refused: the empty text
                said_by,
            )
        )
    return found


ENCODERS: Final[dict[str, Encode]] = {"millstream_score": scores, "millstream_answer": answers}
"""By the functions' names in config.py, whose result types these are."""
