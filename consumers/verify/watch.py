"""The audit that goes on: only what is new is read; each finding is told once."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path

from consumers.alerts.alert import read_alarms
from consumers.alerts.log import Alarms
from consumers.metrics.instruments import current
from consumers.registry import Registry, subject_of
from consumers.topics import kinds_there
from consumers.verify.about import Options
from consumers.verify.audit import Audit, Positions
from consumers.verify.once import opened
from millstream.alerts.alarm import Alarm
from millstream.alerts.wire import Reader, Writer
from millstream.audit.alarms import DamageAlarms
from millstream.audit.ledger import Finding
from millstream.audit.report import Report
from millstream.contracts import contract
from millstream.errors import DependencyUnavailable, MillstreamError
from millstream.metrics.store import Store
from millstream.models.durable import write_whole
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream

DELIVERY_S_MAX = 10.0
TURN_S = 10.0
"""Between two signs of life, at most, while it waits for the next look."""

_log = logging.getLogger(__name__)


class Watch:
    """Looks at a stream again and again.

    metrics_file: rewritten after each look; None writes none.
    """

    def __init__(
        self,
        stream: Stream,
        kafka: KafkaSettings,
        registry: RegistrySettings,
        warehouse: WarehouseSettings,
        options: Options,
        metrics_file: Path | None = None,
    ) -> None:
        self._stream = stream
        self._parts = (kafka, registry, warehouse)
        self._kafka = kafka
        self._options = options
        self._metrics_file = metrics_file
        self._told: dict[tuple[str, str, int | None], int] = {}
        self._alarms: DamageAlarms | None = None
        self._writer: Writer | None = None
        self._seen = current()

    def run(self, every_s: float, stop: threading.Event) -> Report:
        """Look every `every_s` seconds until `stop`; the last report.

        A dependency that goes away is waited for. Raises as Audit where the first look fails.
        """
        with opened(self._stream, *self._parts, self._options) as audit:
            audit.progress = lambda topic, count: self._seen.turned()
            report = self._look(audit, None)
            before = audit.positions()
            self._seen.up()
            while not self._waited(every_s, stop):
                try:
                    report = self._look(audit, before)
                    before = audit.positions()
                    self._seen.trouble("")
                except DependencyUnavailable as why:
                    self._seen.trouble(f"{why.dependency} is away")
                    _log.warning("%s; the next look is in %.0f s", why, every_s)
            return report

    def _waited(self, every_s: float, stop: threading.Event) -> bool:
        """Until the next look is due; whether it was stopped."""
        due = time.monotonic() + every_s
        while (left_s := due - time.monotonic()) > 0:
            if stop.wait(min(left_s, TURN_S)):
                return True
            self._seen.turned()
        return stop.is_set()

    def _look(self, audit: Audit, before: Positions | None) -> Report:
        audit.look(further=True, patience_s=min(self._options.wait_s, 5.0))
        audit.settle(before or {})
        audit.contents()
        audit.forget()
        report = audit.report()
        self._tell(report)
        now_s = time.time()
        self._seen.looked(partial(_show, report, now_s))
        if self._metrics_file is not None:
            write_whole(self._metrics_file, report.as_metrics(now_s).encode())
        return report

    def _tell(self, report: Report) -> None:
        """What is new since the last look: to the log, and damage to NAME.alarms as well."""
        new = [f for f in report.findings if f.total > self._told.get(_place(f), 0)]
        self._told = {_place(f): f.total for f in report.findings}
        for finding in new:
            level = logging.ERROR if finding.certain else logging.WARNING
            _log.log(level, "%s", finding.text)
        self._alarm(report)

    def _alarm(self, report: Report) -> None:
        """Damage fires, and what is found no longer is resolved; tried again at the next look."""
        topic = self._stream.topic("alarms")
        try:
            if self._alarms is None:
                if "alarms" not in kinds_there(self._stream, self._kafka):
                    return
                recovered = DamageAlarms(self._stream.name)
                recovered.recover(self._alarms_there())
                self._alarms = recovered
            changes = self._alarms.look(report.findings, time.time_ns() // 1_000)
            if changes:
                Alarms(self._kafka, topic, self._alarm_writer(), DELIVERY_S_MAX).write(changes)
        except MillstreamError as why:
            self._alarms = None  # what was not written is found again
            _log.error("%s did not take the alarm (%s): the log has all there is of it", topic, why)

    def _alarms_there(self) -> list[Alarm]:
        registry = Registry(self._parts[1])
        try:
            return read_alarms(self._kafka, self._stream, Reader(registry.schema))
        finally:
            registry.close()

    def _alarm_writer(self) -> Writer:
        if self._writer is None:
            registry = Registry(self._parts[1])
            try:
                subject = subject_of(self._stream.topic("alarms"))
                schema_id = registry.register(subject, contract("alarm").text)
            finally:
                registry.close()
            self._writer = Writer("alarm", schema_id)
        return self._writer


def _place(finding: Finding) -> tuple[str, str, int | None]:
    return finding.kind.value, finding.subject, finding.partition


def _show(report: Report, now_s: float, store: Store) -> None:
    for name, values in report.samples(now_s).items():
        store.only(name, values)
