"""How fast the monitor takes events: counting columns, then judging counts."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from millstream.drift.monitor import Monitor
from millstream.drift.signals import count_labelled, count_predictions, score_edges

BATCHES: Final = 300


def monitor_rate(batch_events: int, seed: int = 0) -> float:
    """Events a second of CPU: each is scored, counted, labelled and judged by one monitor.

    Errors, confidences and ten score bins; how many features an event has changes nothing.
    """
    random = np.random.default_rng(seed)
    confidence = random.beta(8, 2, batch_events)
    scores = random.random(batch_events)
    errors = random.random((BATCHES, batch_events)) < 0.1
    monitor, edges = Monitor(), score_edges()
    begun = time.process_time()
    for number, wrong in enumerate(errors):
        counts = count_predictions(confidence, scores, edges)
        counts.add(count_labelled(wrong))
        monitor.take("v1", counts, number * 1_000_000)
    return BATCHES * batch_events / (time.process_time() - begun)
