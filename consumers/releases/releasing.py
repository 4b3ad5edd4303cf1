"""What people and the retrainer do with releases: decide one, take it back, wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from consumers.registry import Registry
from consumers.releases.lineups import releasable
from consumers.releases.log import ReleaseLog, publish_release
from millstream.errors import BundleInvalid
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import ModelRegistry
from millstream.releases.decide import Wanted, next_release, rollback
from millstream.releases.release import Failure, Release, Switch
from millstream.releases.timeline import Timeline
from millstream.settings import KafkaSettings
from millstream.stream import Stream

LOOK_S = 0.1
ROLLED_BACK: Final = "rolled_back"
"""Tag of a version that was the champion and did worse than the one before it: why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a release has come. waiting: partitions that have not switched to it."""

    switched: tuple[Switch, ...]
    waiting: tuple[int, ...]
    failures: tuple[Failure, ...]

    @property
    def is_over(self) -> bool:
        """Whether every partition has it, or some scorer will not."""
        return not self.waiting or bool(self.failures)


def release(
    stream: Stream,
    kafka: KafkaSettings,
    registry: Registry,
    models: ModelRegistry,
    wanted: Wanted,
    *,
    again: bool = False,
    unless: Callable[[Release], bool] = lambda newest: False,
) -> Release:
    """Write the release, once every model of it was fetched and found fit to answer.

    The same `wanted.id` again gives the release that was written. again: a version that was rolled
    back may answer once more. unless: of the newest release there is by then; where that holds,
    nothing is written, and the newest is returned. Raises BundleInvalid without the passport that
    the stream asks for, or where the version was rolled back, ContractMismatch where it does not
    fit, OperatorNeeded without the topic, DependencyUnavailable where Kafka, the registry or the
    store is away.
    """
    if wanted.model is not None and wanted.canary_share != 0:
        _forgive(models, wanted.model) if again else _require_not_rolled_back(models, wanted.model)
    for model in (*(() if wanted.model is None else (wanted.model,)), *wanted.shadows):
        releasable(stream, model)
    base = own_reference(stream, models)

    def draft(known: Timeline) -> Release:
        if known.newest is not None and unless(known.newest):
            return known.newest
        return next_release(known, stream.name, base, wanted)

    return publish_release(stream, kafka, registry, draft)


def roll_back(
    stream: Stream,
    kafka: KafkaSettings,
    registry: Registry,
    models: ModelRegistry,
    wanted: Wanted,
) -> Release:
    """Write the release that goes back; see millstream/releases/decide.py. Raises as `release`."""
    base = own_reference(stream, models)
    return publish_release(
        stream, kafka, registry, lambda known: rollback(known, stream.name, base, wanted)
    )


def _require_not_rolled_back(models: ModelRegistry, model: ModelReference) -> None:
    why = _rolled_back(models, model)
    if why:
        raise BundleInvalid(
            f"{model.label} was rolled back: it did worse than the champion before it ({why})",
            "Release another version, or this one all the same: millstream release --again",
        )


def _forgive(models: ModelRegistry, model: ModelReference) -> None:
    if _rolled_back(models, model):
        models.tag(model.name, model.version, ROLLED_BACK, "")


def _rolled_back(models: ModelRegistry, model: ModelReference) -> str:
    """Why this version was; empty where it was not, or the registry does not know it."""
    known = (each for each in models.versions(model.name) if each.reference.means(model))
    return next((each.tags.get(ROLLED_BACK, "") for each in known), "")


def own_reference(stream: Stream, models: ModelRegistry) -> ModelReference | None:
    """The bundle of stream.toml, registered so that it can be fetched when stream.toml names
    another one; None where it cannot be read."""
    try:
        bundle = Bundle.load(stream.bundle_path)
    except BundleInvalid:
        return None
    try:
        known = models.find(bundle.name, bundle.version)
    except BundleInvalid:
        return models.add(stream.bundle_path, {})
    if known.digest != bundle.digest:
        raise BundleInvalid(
            f"{stream.bundle_path} is {bundle.name}@{bundle.version}, which is registered with "
            "another model",
            "Give the bundle of stream.toml a version of its own",
        )
    return known


def await_release(
    stream: Stream,
    kafka: KafkaSettings,
    registry: Registry,
    wanted: Release,
    wait_s: float,
    said: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """How far it has come after `wait_s`, or when it is over. said: told of every change."""
    timeline, deadline = Timeline(), time.monotonic() + wait_s
    before: Progress | None = None
    with closing(ReleaseLog.open(stream, kafka, registry.schema)) as log:
        entries = log.catch_up()
        while True:
            for entry in entries:
                timeline.add(entry)
            progress = progress_of(timeline, wanted, stream.serving.partitions)
            if progress != before:
                said(progress)
                before = progress
            if progress.is_over or time.monotonic() > deadline:
                return progress
            time.sleep(LOOK_S)
            entries = log.news()


def progress_of(timeline: Timeline, wanted: Release, partitions: int) -> Progress:
    """Of a release that may have been overtaken: a partition with a later one does not wait."""
    last = {p: timeline.last(p) for p in range(partitions)}
    done = {p for p, switch in last.items() if switch and switch.release.number >= wanted.number}
    return Progress(
        tuple(s for s in timeline.switches if s.release.id == wanted.id),
        tuple(p for p in range(partitions) if p not in done),
        tuple(f for f in timeline.failures if f.release.id == wanted.id),
    )
