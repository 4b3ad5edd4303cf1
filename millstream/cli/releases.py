"""`millstream release`, `rollback` and `releases`: which models answer, from where on."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    kafka_settings,
    registry_settings,
    time_of,
)
from millstream.cli.tail import printable
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from consumers.registry import Registry
    from consumers.releases.releasing import Progress
    from millstream.releases.decide import Wanted
    from millstream.releases.release import Effective, Entry, Release
    from millstream.releases.timeline import Timeline
    from millstream.settings import KafkaSettings
    from millstream.stream import Stream

Reason = Annotated[str, typer.Option(help="One line for people, kept with the release.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until every partition has switched.")]
WaitS = Annotated[float, typer.Option(min=0, help="For --wait: at most so many seconds.")]


def release(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    model: Annotated[
        str | None,
        typer.Argument(metavar="NAME@VERSION", help="Or NAME@ALIAS. Without one: shadows only."),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Answer only this share of the keys; 0 only scores."),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(help="NAME@VERSION that scores everything and answers nothing."),
    ] = None,
    at_time: Annotated[
        str | None, typer.Option(help="From the first event of this time on, in each partition.")
    ] = None,
    at_offsets: Annotated[
        str | None, typer.Option(help="From these offsets on, one a partition: 812,790,801.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Even a version that was rolled back by itself.")
    ] = False,
    reason: Reason = "",
    wait: Wait = False,
    wait_s: WaitS = 60.0,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Let a model of the registry answer a stream's events, without a restart.

    Fetches the model and refuses one without the passport that [release] of stream.toml asks for;
    then writes the release to NAME.releases. Scorers load it while they answer, and switch each
    partition at one record. Without --canary the model becomes the champion; with it the champion
    stays, and the model answers the events of the same keys each time. Exit code 1 where --wait saw
    a scorer that could not load it.

    Example: millstream release examples/loans/stream.toml loans@2 --canary 0.1 --wait
    """
    from consumers.models.registry import open_registry
    from consumers.releases import releasing
    from millstream.models.registry import resolve
    from millstream.stream import Stream

    if model is None and not shadow:
        raise SettingsInvalid("no model is given", "Name one: NAME@VERSION, or --shadow")
    if model is None and canary is not None:
        raise SettingsInvalid("--canary has no model", "Name the challenger: NAME@VERSION")
    stream, brokers = Stream.load(path), kafka_settings(kafka)
    models, client = open_registry(stream), _client(registry)
    wanted = _wanted(
        reason,
        model=resolve(models, model) if model else None,
        canary_share=canary,
        shadows=tuple(resolve(models, text) for text in shadow or ()),
        effective=_effective(at_time, at_offsets, stream.serving.partitions),
    )
    made = releasing.release(stream, brokers, client, models, wanted, again=again)
    typer.echo(_line(made))
    if wait:
        _await(stream, brokers, client, made, wait_s)


def rollback(
    path: StreamPath,
    reason: Reason = "",
    wait: Wait = False,
    wait_s: WaitS = 60.0,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Take the last release of a stream back, at once.

    One with a challenger or shadows: its champion answers alone. Else the champion before answers;
    once more goes one further back, at last to the bundle of stream.toml.

    Example: millstream rollback examples/loans/stream.toml --wait
    """
    from consumers.models.registry import open_registry
    from consumers.releases import releasing
    from millstream.stream import Stream

    stream, brokers, client = Stream.load(path), kafka_settings(kafka), _client(registry)
    made = releasing.roll_back(stream, brokers, client, open_registry(stream), _wanted(reason))
    typer.echo(_line(made))
    if wait:
        _await(stream, brokers, client, made, wait_s)


def releases(
    path: StreamPath,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: one record of NAME.releases a line.")
    ] = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """List a stream's releases, where each partition switched to them, and what failed.

    Reads NAME.releases to its end, without joining a group.

    Example: millstream releases examples/loans/stream.toml
    """
    from consumers.releases.log import read_timeline
    from millstream.stream import Stream

    stream, client = Stream.load(path), _client(registry)
    timeline = read_timeline(stream, kafka_settings(kafka), client.schema)
    if as_json:
        found: list[Entry] = [*timeline.releases, *timeline.switches, *timeline.failures]
        for entry in found:
            typer.echo(json.dumps(entry.fields()))
        return
    for each in timeline.releases:
        typer.echo(_line(each))
        for text in _places(timeline, each):
            typer.echo(f"     {text}")
    if not timeline.releases:
        typer.echo("no release: the bundle of stream.toml answers")


def _client(url: str | None) -> Registry:
    from consumers.registry import Registry

    return Registry(registry_settings(url))


def _wanted(reason: str, **given: Any) -> Wanted:
    from millstream.releases.decide import Wanted

    return Wanted(
        uuid.uuid4().hex[:12],
        reason=reason,
        decided_by=os.environ.get("USER", ""),
        decided_us=time.time_ns() // 1_000,
        **given,
    )


def _effective(at_time: str | None, at_offsets: str | None, partitions: int) -> Effective:
    from millstream.releases.release import Effective

    if at_time and at_offsets:
        raise SettingsInvalid("--at-time and --at-offsets contradict", "Give one of them")
    when = time_of("--at-time", at_time)
    if when is not None:
        return Effective(time_us=round(when.timestamp() * 1_000_000))
    if at_offsets is None:
        return Effective()
    offsets = at_offsets.split(",")
    if len(offsets) != partitions or not all(text.strip().isdigit() for text in offsets):
        raise SettingsInvalid(
            f"--at-offsets {at_offsets} is not an offset for each of {partitions} partitions",
            "Write them in order, such as 812,790,801",
        )
    return Effective(offsets=tuple(int(text) for text in offsets))


def _await(
    stream: Stream, kafka: KafkaSettings, client: Registry, made: Release, wait_s: float
) -> None:
    from consumers.releases.releasing import await_release

    def said(progress: Progress) -> None:
        done = len(progress.switched)
        typer.echo(f"  {done} of {stream.serving.partitions} partitions have switched")

    progress = await_release(stream, kafka, client, made, wait_s, said)
    for failure in progress.failures:
        typer.echo(printable(f"  {failure.scorer} cannot load it: {failure.error}"))
    if progress.failures:
        raise typer.Exit(1)
    if progress.waiting:
        numbers = ", ".join(map(str, progress.waiting))
        typer.echo(
            f"  partitions {numbers} wait: no event came since, no scorer runs, or it is not time"
        )


def _line(release: Release) -> str:
    from millstream.alerts.alarm import iso

    parts = [f"{release.number:>4} {release.kind.value:<8} {iso(release.decided_us)}"]
    parts.append(f"champion {release.champion.label}")
    if release.challenger is not None:
        share = f"{release.canary_share:.2%}" if release.canary_share else "no"
        parts.append(f"challenger {release.challenger.label} for {share} keys")
    if release.shadows:
        parts.append(f"shadows {' '.join(shadow.label for shadow in release.shadows)}")
    effective = release.effective
    if effective.offsets:
        parts.append(f"from offsets {','.join(map(str, effective.offsets))}")
    if effective.time_us is not None:
        parts.append(f"from {iso(effective.time_us)}")
    if release.decided_by:
        parts.append(f"by {release.decided_by}")
    if release.reason:
        parts.append(f"({release.reason})")
    return printable("  ".join(parts))


def _places(timeline: Timeline, release: Release) -> list[str]:
    switches = [s for s in timeline.switches if s.release.number == release.number]
    found = [
        f"partition {s.partition} from offset {s.first_offset}{', late' if s.late else ''}"
        for s in switches
    ]
    failures = [f for f in timeline.failures if f.release.number == release.number]
    return found + [printable(f"{f.scorer} cannot load it: {f.error}") for f in failures]
