"""The audit of one stream, once: everything that was there when it began."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from consumers.registry import Registry
from consumers.verify.about import Options
from consumers.verify.audit import Audit
from consumers.verify.log import Log, Progress
from consumers.verify.releases import open_view
from consumers.verify.rows import Rows
from consumers.warehouse import Warehouse
from millstream.audit.report import Report
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream

PAUSE_S = 0.3


def verify(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    options: Options,
    progress: Callable[[Audit], Progress] = lambda audit: lambda topic, count: None,
) -> Report:
    """Audit everything that was there when it began, once.

    What is late is waited for while it moves, options.wait_s at most. Raises as Audit.
    """
    with opened(stream, kafka, registry_settings, warehouse_settings, options) as audit:
        audit.progress = progress(audit)
        deadline = time.monotonic() + options.wait_s
        audit.look(further=True, patience_s=options.wait_s)
        before = audit.positions()
        while audit.waiting() and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
            audit.look(further=False, patience_s=PAUSE_S)
        audit.settle(before)
        audit.contents()
        audit.close()
        return audit.report()


@contextmanager
def opened(
    stream: Stream,
    kafka: KafkaSettings,
    registry_settings: RegistrySettings,
    warehouse_settings: WarehouseSettings,
    options: Options,
) -> Iterator[Audit]:
    """An audit with its connections. Raises as Audit."""
    with ExitStack() as exits:
        log = Log(kafka)
        exits.callback(log.close)
        warehouse = Warehouse.connect(warehouse_settings)
        exits.callback(warehouse.close)
        registry = Registry(registry_settings)
        exits.callback(registry.close)
        releases = open_view(stream, kafka, registry, options.threads)
        if releases is not None:
            exits.callback(releases.close)
        rows = Rows(warehouse, stream.name)
        yield Audit(stream, log, rows, registry, options, releases)
