"""`millstream retrain`: the journal, the real stages and the retrainer, put together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from consumers.metrics.instruments import current
from consumers.models.registry import open_registry
from consumers.registry import Registry
from consumers.releases.probation import tended
from consumers.retrainer import Retrainer
from consumers.retraining.log import Journal
from consumers.retraining.models import Parts
from consumers.retraining.seen import SeenSteps
from consumers.retraining.steps import StreamSteps
from consumers.warehouse import Warehouse
from millstream.retraining.stages import Attempt, Trigger
from millstream.retraining.triggers import Fired, Triggers
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream

TOPICS = ("labelled", "incidents", "releases", "retraining", "decisions")

_log = logging.getLogger(__name__)


def run_retrainer(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    stop: threading.Event,
    ready: Callable[[Retrainer], None] = lambda _: None,
    once: str | None = None,
) -> Attempt | None:
    """Retrain the stream until stopped; or once, for this reason: then the attempt that ended, or
    that was stopped.

    An attempt that is under way is gone on with first. Raises OperatorNeeded before anything where
    a part is missing, ClientLost where another retrainer of the stream has taken over.
    """
    registry = Registry(registry_settings)
    warehouse = Warehouse.connect(warehouse_settings)
    journal = Journal(stream, kafka, registry)
    work = stream.beside(".retraining") / stream.name
    work.mkdir(parents=True, exist_ok=True)
    steps = StreamSteps(
        Parts(stream, kafka, registry, warehouse, open_registry(stream), Path(work), journal.log)
    )
    try:
        retrainer = Retrainer(
            journal,
            SeenSteps(steps, current()),
            Triggers(stream.retrain),
            lambda: time.time_ns() // 1_000,
            f"{stream.name}-retrain-0",
        )
        ready(retrainer)
        if once is None:
            with tended(stream, kafka, registry, warehouse) as tend:
                retrainer.run(stop, tend)
            return None
        under_way = journal.log.open
        if under_way is not None:
            _log.info("retraining %d is under way: it comes first", under_way.number)
            under_way = retrainer.finish(under_way, stop)
            if stop.is_set():
                return under_way
        return retrainer.finish(retrainer.begin(Fired(Trigger.MANUAL, once)), stop)
    finally:
        steps.close()
        journal.close()
        warehouse.close()
        registry.close()
