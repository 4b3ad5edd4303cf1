"""What the audit knows of releases: which model was to answer which event, and its bundle."""

from __future__ import annotations

import logging

from consumers.models.registry import fetch_model
from consumers.registry import Registry
from consumers.releases.log import ReleaseLog
from consumers.topics import kinds_there
from millstream.audit.offsets import Offsets
from millstream.audit.releases import Named, wrong_side
from millstream.audit.rescore import Rescorer
from millstream.errors import MillstreamError
from millstream.models.bundle import Bundle
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings
from millstream.stream import Stream

_log = logging.getLogger(__name__)


class ReleaseView:
    """threads: as many as the scorer had."""

    def __init__(self, stream: Stream, log: ReleaseLog, threads: int) -> None:
        self._stream = stream
        self._releases = log
        self._threads = threads
        self._timeline = Timeline()
        self._rescorers: dict[str, Rescorer | None] = {}
        self._always = _cheaper(stream)

    def refresh(self) -> None:
        """Read on. A switch is committed with the first predictions of its release: whoever has
        read these, and then calls this, knows the switch."""
        for entry in self._releases.catch_up():
            self._timeline.add(entry)
        # a store that did not answer may do so now, and a release may have come since
        self._rescorers = {d: found for d, found in self._rescorers.items() if found is not None}

    def wrong_side(self, partition: int, offsets: Offsets, named: list[Named]) -> Offsets:
        """As millstream/audit/releases.py."""
        if not self._timeline.switches:
            return offsets[:0]
        return wrong_side(self._timeline, partition, offsets, named, self._always)

    def rescorer(self, digest: str) -> Rescorer | None:
        """Of a released model; None where none has this digest, or it cannot be had."""
        if digest not in self._rescorers:
            self._rescorers[digest] = self._fetched(digest)
        return self._rescorers[digest]

    def close(self) -> None:
        self._releases.close()

    def _fetched(self, digest: str) -> Rescorer | None:
        models = [m for each in self._timeline.releases for m in each.models if m.digest == digest]
        for model in models[:1]:
            try:
                cache = self._stream.beside(self._stream.release.cache)
                return Rescorer(fetch_model(self._stream, model, cache), self._threads)
            except MillstreamError as why:
                _log.warning("%s cannot be had for scoring again: %s", model.label, why)
        return None


def open_view(
    stream: Stream, kafka: KafkaSettings, registry: Registry, threads: int
) -> ReleaseView | None:
    """None where the stream has no releases' topic."""
    if "releases" not in kinds_there(stream, kafka):
        return None
    return ReleaseView(stream, ReleaseLog.open(stream, kafka, registry.schema), threads)


def _cheaper(stream: Stream) -> set[Named]:
    overload = stream.serving.overload
    if overload is None or overload.cheaper is None:
        return set()
    try:
        bundle = Bundle.load(stream.beside(overload.cheaper))
    except MillstreamError:
        return set()
    return {(bundle.version, bundle.digest)}
