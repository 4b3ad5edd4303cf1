"""A scored batch in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from millstream.metrics.store import Store
from millstream.records import Records

if TYPE_CHECKING:  # every program imports this module, and only the scorer needs models
    from millstream.models.bundle import Bundle
    from millstream.scoring import Answers


def count_answers(
    store: Store, records: Records, made: Sequence[Answers], now_us: int, budget_us: int
) -> None:
    """One batch whose answers are durable since `now_us`.

    made: its parts. budget_us: how old an event may be then and be in time.
    """
    published = records.timestamps_us
    if len(published) and published.min() < 0:  # some have no time
        published = published[published >= 0]
    waited_us = now_us - published
    if len(waited_us):
        np.maximum(waited_us, 0, out=waited_us)
        store.observe_all("millstream_event_latency_seconds", waited_us / 1e6)
        store.add("millstream_events_late_total", int(np.count_nonzero(waited_us > budget_us)))
    models: Counter[tuple[str, str, str]] = Counter()
    for answers in made:
        for mark, count in answers.answered.items():
            store.add("millstream_events_scored_total", count, answered_by=mark)
        refused = Counter((each.stage.value, each.name) for each in answers.refusals)
        for (stage, name), count in refused.items():
            store.add("millstream_events_refused_total", count, stage=stage, error=name)
        store.add("millstream_shadow_scores_total", len(answers.shadows))
        models += _by_model(answers)
    for (model, version, _), count in models.items():
        store.add("millstream_model_answers_total", count, model=model, version=version)
    if models:
        store.only("millstream_model_info", dict.fromkeys(models, 1.0))


def _by_model(answers: Answers) -> Counter[tuple[str, str, str]]:
    """(name, version, digest) of a bundle -> its answers."""
    if not answers.models or not len(answers.rows):
        return Counter()
    if answers.model_of is None:
        return Counter({_named(answers.models[0]): len(answers.rows)})
    counts = np.bincount(answers.model_of, minlength=len(answers.models)).tolist()
    found = zip(answers.models, counts, strict=True)
    return Counter({_named(model): count for model, count in found if count})


def _named(bundle: Bundle) -> tuple[str, str, str]:
    return bundle.name, bundle.version, bundle.digest
