"""Models by the rows that they were fitted on, each fitted once, whoever asks for it."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.models.card import Feature
from millstream.retraining.challenge import Ranges
from millstream.training.candidate import Candidate, fit
from millstream.training.rows import Rows, Task
from ops.bench.loop.streams import Stream

Codes = npt.NDArray[np.int16]
KEPT: Final = 100
"""Fitted models in memory; their predictions are kept for ever."""
AHEAD_ROWS: Final = 1_000
PARAMETERS: Final[dict[str, Any]] = {
    "n_estimators": 50,
    "learning_rate": 0.2,
    "num_leaves": 15,
    "max_bin": 63,
}
"""LightGBM's, for every stream: quick, and as good here as a hundred trees at half the rate."""


class Models:
    """Predictions of any model of one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.fits = 0
        self.fit_s = 0.0
        """Seconds of this process's CPU that fitting took."""
        labels = tuple(str(code) for code in range(int(stream.labels.max()) + 1))
        binary = len(labels) == 2
        features = tuple(Feature(name=name, missing="nan") for name in stream.names)
        self._task = Task(
            "binary" if binary else "multiclass", features, labels, labels[1] if binary else None
        )
        self._texts = stream.labels.astype(str).astype(object)
        self._fitted: OrderedDict[Ranges, Candidate] = OrderedDict()
        self._predicted: dict[Ranges, Codes] = {}

    def predicted(self, ranges: Ranges, begin: int, end: int) -> Codes:
        """[end - begin] label codes by the model of these rows."""
        known = self._predicted.setdefault(ranges, np.full(len(self.stream), -1, np.int16))
        missing = np.flatnonzero(known[begin:end] < 0)
        if len(missing):
            first = begin + int(missing[0])
            last = min(max(end, first + AHEAD_ROWS), len(self.stream))
            scores = self._model(ranges).predict_proba(self._columns(np.arange(first, last)))
            known[first:last] = scores.argmax(axis=1)
        return known[begin:end]

    def wrong(self, ranges: Ranges, begin: int, end: int) -> npt.NDArray[np.float64]:
        """[end - begin] losses: 1 where the prediction is not the label."""
        missed = self.predicted(ranges, begin, end) != self.stream.labels[begin:end]
        return np.asarray(missed, np.float64)

    def _model(self, ranges: Ranges) -> Candidate:
        found = self._fitted.get(ranges)
        if found is None:
            places = np.concatenate([np.arange(*each) for each in ranges])
            rows = Rows(self._task, self._columns(places), self._texts[places], places)
            begun = time.process_time()
            found = fit(rows, "lightgbm", PARAMETERS)
            self.fit_s += time.process_time() - begun
            self.fits += 1
            self._fitted[ranges] = found
            if len(self._fitted) > KEPT:
                self._fitted.popitem(last=False)
        self._fitted.move_to_end(ranges)
        return found

    def _columns(self, places: npt.NDArray[np.int64]) -> pa.Table:
        part = self.stream.features[places]
        return pa.table({name: part[:, n] for n, name in enumerate(self.stream.names)})
