"""The parts that a scorer scores by: the models in force, and who says which of them answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from consumers.answering import answering
from consumers.registry import Registry, subject_of
from consumers.releases.lineups import Lineups
from consumers.releases.log import Clerk, ReleaseLog
from consumers.releases.rota import Rota
from millstream.alerts import wire
from millstream.contracts import contract
from millstream.decoding import EventDecoder
from millstream.fit import require_fit
from millstream.lineup import Lineup
from millstream.models.bundle import Bundle
from millstream.releases.wire import Writer
from millstream.scoring import ScoringPlan
from millstream.settings import KafkaSettings, ScorerSettings
from millstream.stream import Stream

NEEDED = frozenset({"releases", "shadows"})

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Crew:
    """rota: None where the stream has no releases: the first one answers for ever."""

    first: Lineup
    plan: ScoringPlan
    rota: Rota | None = None
    closes: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Read and load nothing more."""
        for close in reversed(self.closes):
            close()


def open_crew(
    stream: Stream,
    kafka: KafkaSettings,
    registry: Registry,
    settings: ScorerSettings,
    scorer: str,
    kinds: Collection[str],
) -> Crew:
    """What is in force now, loaded and warm. scorer: group and slot. kinds: topics that exist.

    Raises OperatorNeeded where a model in force does not load, DependencyUnavailable where what it
    needs does not answer.
    """
    predictions = _register(stream, registry, "predictions", "prediction")
    if not set(kinds) >= NEEDED:
        _log.warning(
            "%s does not exist: the bundle of stream.toml answers until the scorer is started "
            "again after `millstream topics`",
            " and ".join(stream.topic(kind) for kind in sorted(NEEDED - set(kinds))),
        )
        bundle = Bundle.load(stream.bundle_path)
        require_fit(stream, bundle)
        session = answering(stream, bundle, settings)
        plan = ScoringPlan(stream, bundle, session, registry.schema, predictions, _now_us)
        return Crew(Lineup(session), plan)
    log = ReleaseLog.open(stream, kafka, registry.schema)
    closes: list[Callable[[], None]] = [log.close]
    lineups = Lineups(stream, settings)
    closes.append(lineups.close)
    alarms = None
    if "alarms" in kinds:
        alarms = wire.Writer("alarm", _register(stream, registry, "alarms", "alarm"))
    writer = Writer(_register(stream, registry, "releases", "release"))
    clerk = Clerk(stream, scorer, writer, len(log.partitions), alarms)
    rota = Rota(log, lineups, clerk, EventDecoder(stream, registry.schema).times)
    try:
        first = rota.begin(stream.serving.partitions)
        plan = ScoringPlan(
            stream,
            first.champion.bundle,
            first.champion,
            registry.schema,
            predictions,
            _now_us,
            _register(stream, registry, "shadows", "shadow"),
        )
    except BaseException:
        lineups.close()
        log.close()
        raise
    return Crew(first, plan, rota, closes)


def _register(stream: Stream, registry: Registry, kind: str, subject: str) -> int:
    return registry.register(subject_of(stream.topic(kind)), contract(subject).text)


def _now_us() -> int:
    return time.time_ns() // 1000
