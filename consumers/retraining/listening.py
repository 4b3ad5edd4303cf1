"""Between two retrainings: the policy hears how the champion does, as labels come.

What is heard here is memory only. The policy begins as the last attempt's records have it, with the
newest rows; whoever starts again hears the same rows again, and a change that asks for an attempt
is in that attempt's first record. The attempt hears them once more, from the same place.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from consumers import training_rows
from consumers.retraining.models import Models, Parts
from consumers.retraining.releases import Releases
from millstream.errors import InvariantBroken, OperatorNeeded
from millstream.models.reference import ModelReference
from millstream.retraining.policy import Policy
from millstream.retraining.track import LISTEN_ROWS
from millstream.training.rows import Rows

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Heard:
    """since: the attempt, and the champion's digest, that it began with. rows: those that are not
    heard yet. bounds: partition -> offset up to which rows were read. scale: of a regression's
    errors, on all rows that it began with."""

    since: tuple[str, str]
    threshold: float
    policy: Policy
    models: dict[str, Any]
    rows: Rows
    bounds: dict[int, int]
    labels: int
    scale: float | None = None


class Listener:
    """Of one stream; used by one thread."""

    def __init__(self, parts: Parts, releases: Releases, models: Models) -> None:
        self._parts = parts
        self._stream = parts.stream
        self._releases = releases
        self._models = models
        self._heard: _Heard | None = None
        self._failed: int | None = None  # labels when nothing could be heard
        self._change: tuple[tuple[str, str], int] | None = None  # since what, and the place

    def listen(self, labels: int) -> int | None:
        """Hear what came. labels: so far. Event time in µs from which on the champion's losses have
        changed since the last attempt; None: they have not, or [retrain] has no schedule of labels.

        Where something is missing it says so and hears nothing: the next attempt tells what. Raises
        DependencyUnavailable.
        """
        last = self._failed or 0
        if not self._stream.retrain.schedule_labels or labels - last < LISTEN_ROWS:
            return None
        try:
            found = self._listen(labels)
        except InvariantBroken:
            raise
        except OperatorNeeded as why:
            _log.warning("how the champion does is not heard: %s", why)
            self._heard, self._failed = None, labels
            return None
        self._failed = None
        return found

    def _listen(self, labels: int) -> int | None:
        attempts = [one.id for one in self._parts.log.attempts if one.over is not None]
        last, heard = attempts[-1] if attempts else "", self._heard
        if heard is None or heard.since[0] != last or labels - heard.labels >= LISTEN_ROWS:
            champion = self._releases.champion()
            since = (last, champion.digest)
            if heard is None or heard.since != since or self._is_full(heard):
                heard = self._heard = self._begun(since, champion, labels)
            else:
                self._read(heard, labels)
            self._hear(heard)
        return self._change[1] if self._change and self._change[0] == heard.since else None

    def _begun(self, since: tuple[str, str], champion: ModelReference, labels: int) -> _Heard:
        """With the newest rows."""
        card = self._models.bundle(champion).card
        wanted = training_rows.Wanted(rows_max=self._stream.retrain.rows_max, mature_share=None)
        loaded = training_rows.read(self._stream, self._parts.warehouse, wanted, card)
        policy, models = self._models.policy(loaded.rows, champion, labels)
        threshold = self._models.threshold(champion)
        return _Heard(since, threshold, policy, models, loaded.rows, loaded.bounds, labels)

    def _read(self, heard: _Heard, labels: int) -> None:
        rows_max = self._stream.retrain.rows_max
        new, heard.bounds = training_rows.read_newer(
            self._stream, self._parts.warehouse, heard.bounds, rows_max, heard.rows.task
        )
        heard.labels = labels
        if new is None:
            return
        # places never fall: what is older than what was taken is left to the next attempt
        newest_us = heard.policy.rows.place(heard.policy.rows.count) - 1
        new = new.take(slice(int(np.searchsorted(new.times_us, newest_us)), None))
        heard.policy.take(new.times_us)
        heard.rows = _joined(heard.rows, new)

    def _hear(self, heard: _Heard) -> None:
        wanted = heard.policy.wanted
        shop = self._models.workshop(heard.rows, heard.models, wanted, heard.threshold, heard.scale)
        if heard.rows.task.kind == "regression":
            heard.scale = shop.scale
        change = heard.policy.listen(shop.losses)
        if change is not None:
            self._change = (heard.since, change)
        first = int(np.searchsorted(heard.rows.times_us, heard.policy.heard))
        heard.rows = heard.rows.take(slice(first, None))

    def _is_full(self, heard: _Heard) -> bool:
        """The policy keeps the places of what it took: from time to time it begins again."""
        return heard.policy.rows.count > 2 * self._stream.retrain.rows_max


def _joined(first: Rows, then: Rows) -> Rows:
    """Those of one task, without what listening does not need."""
    return replace(
        first,
        columns=pa.concat_tables([first.columns, then.columns]),
        labels=np.concatenate([first.labels, then.labels]),
        times_us=np.concatenate([first.times_us, then.times_us]),
        known_us=None,
        ids=(),
    )
