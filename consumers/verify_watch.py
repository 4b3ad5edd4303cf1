"""The audit that goes on: only what is new is read; each finding is told once."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from consumers.kafka import producer_config
from consumers.verify import opened
from consumers.verify_about import Options
from consumers.verify_audit import Audit, Positions
from consumers.verify_log import Log
from millstream.audit.ledger import Finding
from millstream.audit.report import Report, finding_json
from millstream.errors import DependencyUnavailable
from millstream.settings import KafkaSettings, RegistrySettings, WarehouseSettings
from millstream.stream import Stream

DELIVERY_S_MAX = 10.0

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

    def run(self, every_s: float, stop: threading.Event) -> Report:
        """Look every `every_s` seconds until `stop`; the last report.

        A dependency that goes away is waited for. Raises as Audit where the first look fails.
        """
        with opened(self._stream, *self._parts, self._options) as audit:
            report = self._look(audit, None)
            before = audit.positions()
            while not stop.wait(every_s):
                try:
                    report = self._look(audit, before)
                    before = audit.positions()
                except DependencyUnavailable as why:
                    _log.warning("%s; the next look is in %.0f s", why, every_s)
            return report

    def _look(self, audit: Audit, before: Positions | None) -> Report:
        audit.look(further=True, patience_s=min(self._options.wait_s, 5.0))
        audit.settle(before or {})
        audit.contents()
        audit.forget()
        report = audit.report()
        self._tell(report)
        if self._metrics_file is not None:
            write_whole(self._metrics_file, report.as_metrics(time.time()))
        return report

    def _tell(self, report: Report) -> None:
        """What is new since the last look: to the log, and damage to NAME.alarms as well."""
        new = [f for f in report.findings if f.total > self._told.get(_place(f), 0)]
        self._told = {_place(f): f.total for f in report.findings}
        for finding in new:
            level = logging.ERROR if finding.certain else logging.WARNING
            _log.log(level, "%s", finding.text)
        certain = [finding for finding in new if finding.certain]
        if certain:
            self._alarm(report, certain)

    def _alarm(self, report: Report, findings: list[Finding]) -> None:
        topic = f"{self._stream.name}.alarms"
        log = Log(self._kafka)
        try:
            if not log.has_topic(topic):
                return
        finally:
            log.close()
        producer = Producer(
            producer_config(self._kafka, f"{self._stream.name}-verify")
            | {"message.timeout.ms": int(DELIVERY_S_MAX * 1000)}
        )
        for finding in findings:
            value = finding_json(finding) | {
                "source": "verify",
                "stream": report.stream,
                "run": report.run,
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
            producer.produce(topic, json.dumps(value).encode(), report.stream.encode())
        if producer.flush(DELIVERY_S_MAX):
            _log.error("%s did not take the alarm: the log above is all there is of it", topic)


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that its reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _place(finding: Finding) -> tuple[str, str, int | None]:
    return finding.kind.value, finding.subject, finding.partition
