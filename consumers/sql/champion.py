"""Which model answers a stream now, for those who ask from SQL: read from NAME.releases."""

from __future__ import annotations

from consumers.registry import Registry
from consumers.releases.log import ReleaseLog
from millstream.models.reference import ModelReference
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream


class Champion:
    """Follows one stream's releases. Opened at the first question; used by one thread."""

    def __init__(self, stream: Stream, kafka: KafkaSettings, registry: RegistrySettings) -> None:
        self._stream = stream
        self._kafka = kafka
        self._registry = registry
        self._log: ReleaseLog | None = None
        self._timeline = Timeline()

    def reference(self) -> ModelReference | None:
        """The champion of the newest release that a partition has switched to; None: the bundle of
        stream.toml.

        The first time it reads everything, then what is there. Where Kafka is gone later, what was
        known last goes on. Raises SettingsInvalid where no broker answers at first, OperatorNeeded
        without the topic, DependencyUnavailable where it cannot be read to its end.
        """
        if self._log is None:
            schemas = Registry(self._registry)
            log = ReleaseLog.open(self._stream, self._kafka, schemas.schema)
            try:
                entries = log.catch_up()
            except BaseException:
                log.close()
                raise
            self._log = log
        else:
            entries = self._log.news()
        for entry in entries:
            self._timeline.add(entry)
        switched = [switch.release for switch in self._timeline.switches]
        return max(switched, key=lambda release: release.number).champion if switched else None

    def close(self) -> None:
        """Read nothing more."""
        if self._log is not None:
            self._log.close()
            self._log = None
