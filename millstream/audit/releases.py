"""Whether each prediction is of a model that its release let answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from millstream.audit.offsets import Offsets
from millstream.releases.timeline import Timeline

Named = tuple[str, str]
"""Version and digest of a model."""


def wrong_side(
    timeline: Timeline,
    partition: int,
    offsets: Offsets,
    named: Sequence[Named],
    always: Collection[Named] = (),
) -> Offsets:
    """The offsets, of n events of one partition, whose predictions name a model that was not to
    answer them.

    named: [n], the models that the predictions name. always: those that may answer under any
    release, such as the cheaper one of the overload ladder. Before the first switch nothing is
    known but that the first release's models were not yet to answer.
    """
    if not len(offsets):
        return offsets
    numbers = timeline.numbers(partition, offsets)
    wrong = np.zeros(len(offsets), np.bool_)
    for number in np.unique(numbers).tolist():
        rows = np.flatnonzero(numbers == number)
        models = [named[row] for row in rows.tolist()]
        if number:
            allowed = {*always, *_answering(timeline, number)}
            wrong[rows] = [model not in allowed for model in models]
            continue
        first = next((s.switch for s in timeline.spans(partition) if s.switch is not None), None)
        if first is not None:
            early = {*_answering(timeline, first.release.number)} - {*always, first.before}
            wrong[rows] = [model in early for model in models]
    return offsets[wrong]


def _answering(timeline: Timeline, number: int) -> list[Named]:
    release = timeline.release(number)
    assert release is not None, number
    return [(model.version, model.digest) for model in release.answering]
