"""Earlier answers of the same model to the same features. Opt-in: [serving.cache] in stream.toml.

A look-up compares the whole feature row as the model would get it, byte by byte, so no answer comes
from a collision. Entries are of one model's digest, and bounded by bytes; the oldest go first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.models.features import Rows
from millstream.models.session import Scored, Session

Floats = npt.NDArray[np.float64]
Seconds = Callable[[], float]
"""A monotonic clock."""
Key = bytes | tuple[bytes, ...]

TRIAL_ROWS: Final = 20_000
"""Looked up before it is judged whether that pays, each time."""
_SLOT_BYTES: Final = 104  # of a dict's entry, at its least full

_log = logging.getLogger(__name__)


class AnswerCache:
    """Scores by feature row, for one model at a time.

    bytes_max: of keys, scores and their places in the table.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._digest = ""
        self._known: dict[Key, bytes] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def find(self, digest: str, keys: Sequence[Key]) -> list[bytes | None]:
        """What this model answered, float64 by float64. Another model's answers are forgotten."""
        if digest != self._digest:
            self.clear()
            self._digest = digest
        return list(map(self._known.get, keys))

    def keep(self, keys: Sequence[Key], answers: Sequence[bytes]) -> None:
        """Remember answers of the model that `find` was last asked for."""
        known = self._known
        for key, answer in zip(keys, answers, strict=True):
            if key not in known:
                known[key] = answer
                self.size_bytes += _bytes_of(key, answer)
        while self.size_bytes > self._bytes_max:
            oldest = next(iter(known))
            self.size_bytes -= _bytes_of(oldest, known.pop(oldest))

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self.size_bytes = 0


class CachedSession:
    """A session that looks first whether the model has answered the same row before.

    clock: measures look-ups and scoring; once looking up costs more than it saves over
    TRIAL_ROWS rows, the cache is emptied and not asked again.
    hits: rows answered from it. on: whether it is still asked.
    """

    def __init__(self, session: Session, bytes_max: int, clock: Seconds) -> None:
        self.bundle = session.bundle
        self._session = session
        self._cache = AnswerCache(bytes_max)
        self._clock = clock
        self._digest = session.bundle.digest
        self._row_s = 0.0  # that scoring one row took on average, lately
        self._looked_rows = 0
        self._looked_s = 0.0
        self._saved_s = 0.0
        self.hits = 0
        self.on = True

    def score(self, columns: pa.RecordBatch) -> Scored:
        """As Session.score; rows that the cache answered are marked."""
        if not self.on:
            return self._session.score(columns)
        read = self._session.read(columns)
        begun = self._clock()
        keys = keys_of(read)
        found = self._cache.find(self._digest, keys)
        missed = [at for at, answer in enumerate(found) if answer is None]
        looked = self._clock()
        scored = self._session.score_rows(read if len(missed) == len(keys) else _of(read, missed))
        done = self._clock()
        answers = _joined(self._session, read, scored, found)
        self._keep(read, scored, keys)
        self._weigh(len(keys), len(missed), done - looked, looked - begun + self._clock() - done)
        return answers

    def read(self, columns: pa.RecordBatch) -> Rows:
        """As Session.read."""
        return self._session.read(columns)

    def known(self, read: Rows) -> Scored:
        """Only what the cache knows of these rows; the others are neither scored nor refused."""
        found = self._cache.find(self._digest, keys_of(read))
        nothing = self._session.decide(
            np.empty(0, np.int64), np.empty((0, self._session.bundle.card.score_columns)), ()
        )
        self.hits += sum(answer is not None for answer in found)
        return _joined(self._session, read, nothing, found, read.refusals)

    def close(self) -> None:
        """Close the session, forget the answers."""
        self._cache.clear()
        self._session.close()

    def _keep(self, read: Rows, scored: Scored, keys: list[Key]) -> None:
        """Store the answers that the model gave just now."""
        if not len(scored.rows):
            return
        places = np.searchsorted(read.positions, scored.rows)
        raw = np.ascontiguousarray(scored.scores, np.float64).tobytes()
        width = len(raw) // len(places)
        answers = [raw[at : at + width] for at in range(0, len(raw), width)]
        self._cache.keep([keys[place] for place in places.tolist()], answers)

    def _weigh(self, rows: int, missed: int, scoring_s: float, looking_s: float) -> None:
        if missed:
            row_s = scoring_s / missed
            self._row_s = row_s if not self._row_s else 0.9 * self._row_s + 0.1 * row_s
        self.hits += rows - missed
        self._saved_s += (rows - missed) * self._row_s
        self._looked_s += looking_s
        self._looked_rows += rows
        if self._looked_rows < TRIAL_ROWS:
            return
        if self._looked_s > self._saved_s:
            self.on = False
            self._cache.clear()
            _log.warning(
                "the prediction cache is off: over %d events looking up took %.3f s and saved "
                "%.3f s of scoring; remove [serving.cache] from stream.toml, or start again",
                *(self._looked_rows, self._looked_s, self._saved_s),
            )
        self._looked_rows, self._looked_s, self._saved_s = 0, 0.0, 0.0


def keys_of(read: Rows) -> list[Key]:
    """Each row's features as the model gets them: their bytes, and texts by themselves."""
    count = len(read.positions)
    if not count:
        return []
    plain = [a.reshape(count, -1) for a in read.feeds.values() if a.dtype != object]
    texts = [a.reshape(count) for a in read.feeds.values() if a.dtype == object]
    raw = [array.view(np.uint8).reshape(count, -1) for array in map(np.ascontiguousarray, plain)]
    whole = np.hstack(raw) if len(raw) > 1 else raw[0] if raw else np.empty((count, 0), np.uint8)
    width, joined = whole.shape[1], whole.tobytes()
    rows = [joined[at * width : (at + 1) * width] for at in range(count)]
    if not texts:
        return list(rows)
    columns = [[text.encode() for text in column.tolist()] for column in texts]
    return list(zip(rows, *columns, strict=True))


def _of(read: Rows, places: list[int]) -> Rows:
    return Rows(
        read.positions[places], {n: a[places] for n, a in read.feeds.items()}, read.refusals
    )


def _joined(
    session: Session,
    read: Rows,
    scored: Scored,
    found: Sequence[bytes | None],
    refusals: Any = None,
) -> Scored:
    """The model's answers and the cache's, in the order of the rows."""
    places = [at for at, answer in enumerate(found) if answer is not None]
    if not places:
        return scored
    cached = np.frombuffer(b"".join(found[at] or b"" for at in places), np.float64)
    rows = np.concatenate([scored.rows, read.positions[places]])
    order = np.argsort(rows, kind="stable")
    scores: Floats = np.concatenate([scored.scores, cached.reshape(len(places), -1)])[order]
    made = session.decide(rows[order], scores, scored.refusals if refusals is None else refusals)
    is_cached = (order >= len(scored.rows)).tolist()
    mark: str | pa.StringArray = "cached"
    if len(scored.rows):
        mark = pa.array(["cached" if each else "full" for each in is_cached], pa.string())
    return Scored(
        made.rows, made.scores, made.score, made.label, made.confidence, made.refusals, mark
    )


def _bytes_of(key: Key, answer: bytes) -> int:
    parts = sum(map(sys.getsizeof, key)) if isinstance(key, tuple) else 0
    return sys.getsizeof(key) + parts + sys.getsizeof(answer) + _SLOT_BYTES
