"""A session that answers by less than the whole model while events wait too long.

[serving.overload] in stream.toml declares the steps: `cheaper`, another bundle; `cached`, only
what the prediction cache knows, the rest is abstained from; `abstained`, nothing. Every answer is
marked.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa

from millstream.errors import BundleInvalid
from millstream.ladder import Ladder
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.features import Rows
from millstream.models.session import Scored, Session

_log = logging.getLogger(__name__)


class LadderSession:
    """Scores by the ladder's step.

    full: the stream's model; with a cache where `cached` is a step. cheaper: where that is one.
    Raises BundleInvalid where the cheaper model does not answer the same question.
    """

    def __init__(
        self, full: Session | CachedSession, cheaper: Session | None, ladder: Ladder
    ) -> None:
        if cheaper is not None:
            _require_same_answers(full.bundle, cheaper.bundle)
        self.bundle = full.bundle
        self._full = full
        self._cheaper = cheaper
        self._ladder = ladder

    @property
    def step(self) -> str:
        """Where the ladder stands."""
        return self._ladder.step

    def observe(self, now_us: int, waited_us: int) -> None:
        """Told before each batch how long its events have waited."""
        before = self._ladder.step
        step = self._ladder.observe(now_us, waited_us)
        if step != before:
            _log.warning(
                "events have waited %d ms: answers are %s now, no longer %s",
                *(waited_us // 1_000, step, before),
            )

    def score(self, columns: pa.RecordBatch) -> Scored:
        """As Session.score; marked, and of the bundle that answered."""
        step = self._ladder.step
        if step == "cheaper" and self._cheaper is not None:
            scored = self._cheaper.score(columns)
            return replace(scored, answered_by="cheaper", bundle=self._cheaper.bundle)
        if step == "cached" and isinstance(self._full, CachedSession):
            read = self._full.read(columns)
            return self._with_abstentions(read, self._full.known(read))
        if step == "abstained":
            return self._with_abstentions(self._full.read(columns), None)
        return self._full.score(columns)

    def close(self) -> None:
        """Close both sessions."""
        self._full.close()
        if self._cheaper is not None:
            self._cheaper.close()

    def _with_abstentions(self, read: Rows, known: Scored | None) -> Scored:
        """What is known, and no answer to the other rows that the model may see."""
        count, width = len(read.positions), self.bundle.card.score_columns
        scores = np.full((count, width), np.nan)
        score, confidence = np.full(count, np.nan), np.full(count, np.nan)
        labels: list[str | None] = [None] * count
        marks = ["abstained"] * count
        if known is not None and len(known.rows):
            places = np.searchsorted(read.positions, known.rows)
            scores[places], score[places] = known.scores, known.score
            confidence[places] = known.confidence
            for place, label in zip(places.tolist(), known.label.to_pylist(), strict=True):
                labels[place], marks[place] = label, "cached"
        return Scored(
            read.positions,
            scores,
            score,
            pa.array(labels, pa.string()),
            confidence,
            read.refusals,
            pa.array(marks, pa.string()),
        )


def _require_same_answers(full: Bundle, cheaper: Bundle) -> None:
    for part in ("kind", "labels", "positive"):
        ours, theirs = getattr(full.card, part), getattr(cheaper.card, part)
        if ours != theirs:
            raise BundleInvalid(
                f"{cheaper.folder}: {part} is {theirs!r}, the stream's model has {ours!r}",
                "serving.overload.cheaper must answer the same question with the same labels",
            )
