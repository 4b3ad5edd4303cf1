"""`millstream alerts`: watch and tell, try the channels, silence, list."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import (
    Kafka,
    ReadyFile,
    RegistryUrl,
    StreamPath,
    WarehouseUrl,
    kafka_settings,
    registry_settings,
    seconds,
    start,
    warehouse_settings,
)
from millstream.cli.tail import printable
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.alerts.alarm import Alarm
    from millstream.alerts.silence import Silence
    from millstream.alerts.wire import Reader
    from millstream.settings import KafkaSettings
    from millstream.stream import Stream

SILENCE_S_MAX = 366 * 86_400

app = typer.Typer(
    name="alerts",
    help="Turn rules and incidents into alarms, and tell people of them once.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def run(
    path: StreamPath,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
    warehouse: WarehouseUrl = None,
    ready_file: ReadyFile = None,
) -> None:
    """Watch a stream and tell people until stopped.

    Reads NAME.incidents, NAME.alarms and NAME.silences; looks at the rules of stream.toml's
    [alerts] with Kafka's offsets and with queries to ClickHouse. Writes each change to NAME.alarms,
    and tells of every alarm there, whoever wrote it, by the channels that have an address:
    MILLSTREAM_ALERTS_WEBHOOK_URL, _ALERTMANAGER_URL, _SMTP_HOST (`millstream settings` lists all).
    People are told at least once: a kill between a notice and its mark repeats it, under its id.

    Example: millstream alerts run examples/loans/stream.toml
    """
    from consumers.alerts.alert import run_alert
    from consumers.metrics.observed import observed
    from millstream.settings import AlertsSettings, from_environment

    given = start(path, kafka, registry, ready_file)
    settings = from_environment(AlertsSettings, os.environ)
    with observed("alerts", given.stream, os.environ, settings.slot):
        run_alert(
            given.stream,
            given.kafka,
            given.registry,
            warehouse_settings(warehouse),
            settings,
            given.stop,
            given.ready,
        )


@app.command()
def test(path: StreamPath) -> None:
    """Send a test notice through each channel that has an address, and say how it went.

    Nothing is written to Kafka. Ends with 0 if every channel took it, else with 1.

    Example: millstream alerts test examples/loans/stream.toml
    """
    from consumers.alerts.channels import channels
    from consumers.alerts.courier import tell_now
    from millstream.alerts.notify import Notice
    from millstream.settings import AlertsSettings, from_environment
    from millstream.stream import Stream

    stream = Stream.load(path)
    found = channels(from_environment(AlertsSettings, os.environ))
    if not found:
        raise SettingsInvalid(
            "no channel has an address",
            "Set MILLSTREAM_ALERTS_WEBHOOK_URL, _ALERTMANAGER_URL or _SMTP_HOST",
        )
    said = tell_now(found, Notice((_trial(stream.name),)))
    for name, why in said.items():
        typer.echo(f"{name:<14}{'took it' if why is None else printable(why)}")
    if any(said.values()):
        raise typer.Exit(1)


@app.command()
def silence(
    path: StreamPath,
    matchers: Annotated[
        list[str] | None,
        typer.Argument(metavar="MATCHER...", help="NAME=VALUE, !=, =~ or !~; all must match."),
    ] = None,
    length: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 2h, 7d.")] = "1h",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    end: Annotated[str | None, typer.Option("--end", help="End the silence of this id.")] = None,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Tell nobody of the alarms that match, for a time; or end a silence.

    Matchers are on an alarm's labels, and on rule, severity, cause, stream, source and id. Writes
    NAME.silences. The alarms are written to NAME.alarms as ever; what still fires at the
    silence's end is told then.

    Example: millstream alerts silence examples/loans/stream.toml rule=scorer_lag --for 2h
    """
    from dataclasses import replace

    from consumers.alerts.log import Alarms
    from consumers.registry import Registry, subject_of
    from millstream.alerts.silence import Matcher, Silence
    from millstream.alerts.wire import Reader, Writer
    from millstream.contracts import contract
    from millstream.stream import Stream

    stream, brokers = Stream.load(path), kafka_settings(kafka)
    client = Registry(registry_settings(registry))
    now_us = time.time_ns() // 1_000
    if end is not None:
        known = {each.id: each for each in _silences(stream, brokers, Reader(client.schema))}
        if end not in known:
            raise SettingsInvalid(
                f"there is no silence {end}", "`millstream alerts list` has their ids"
            )
        made = replace(known[end], ends_us=min(now_us, known[end].ends_us))
    else:
        parsed = tuple(Matcher.parse(text) for text in matchers or ())
        if not parsed:
            raise SettingsInvalid("no matcher is given", "Name what to silence: rule=NAME")
        author = os.environ.get("USER", "")
        until_us = now_us + _length_us(length)
        made = Silence(uuid.uuid4().hex[:12], parsed, now_us, until_us, author, comment)
    topic = stream.topic("silences")
    schema_id = client.register(subject_of(topic), contract("silence").text)
    Alarms(brokers, topic, Writer("silence", schema_id)).write([made])
    typer.echo(_silence_line(made, now_us))


@app.command(name="list")
def list_alarms(
    path: StreamPath,
    everything: Annotated[
        bool, typer.Option("--all", help="Resolved alarms and past silences too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: one object a line.")] = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """List what fires, and the silences in force.

    Reads NAME.alarms and NAME.silences to their ends, without joining a group.

    Example: millstream alerts list examples/loans/stream.toml
    """
    from consumers.registry import Registry
    from millstream.alerts.silence import silenced
    from millstream.alerts.wire import Reader
    from millstream.stream import Stream

    stream, brokers = Stream.load(path), kafka_settings(kafka)
    reader = Reader(Registry(registry_settings(registry)).schema)
    now_us = time.time_ns() // 1_000
    alarms, silences = _alarms(stream, brokers, reader), _silences(stream, brokers, reader)
    shown = [each for each in alarms if each.firing or everything]
    held = [each for each in silences if now_us < each.ends_us or everything]
    if as_json:
        for alarm in shown:
            quiet = silenced(alarm, silences, now_us)
            typer.echo(json.dumps({"kind": "alarm", **alarm.fields(), "silenced": quiet}))
        for each in held:
            typer.echo(json.dumps({"kind": "silence", **each.fields()}))
        return
    for alarm in shown:
        note = "  (silenced)" if silenced(alarm, silences, now_us) else ""
        typer.echo(_alarm_line(alarm) + note)
    if not shown:
        typer.echo("nothing fires")
    for each in held:
        typer.echo(_silence_line(each, now_us))


def _trial(stream: str) -> Alarm:
    from millstream.alerts.alarm import Alarm, Severity, Status, alarm_id

    now_us = time.time_ns() // 1_000
    return Alarm(
        id=alarm_id(stream, "test", {}, now_us),
        stream=stream,
        rule="test",
        severity=Severity.INFO,
        status=Status.FIRING,
        summary="a test of this channel; nothing is wrong",
        cause="test",
        started_us=now_us,
        updated_us=now_us,
        source="test",
    )


def _alarms(stream: Stream, kafka: KafkaSettings, reader: Reader) -> list[Alarm]:
    """The newest revision of each alarm, the newest alarm first."""
    from consumers.alerts.alert import read_alarms

    newest: dict[str, Alarm] = {}
    for alarm in read_alarms(kafka, stream, reader):
        if alarm.id not in newest or alarm.revision >= newest[alarm.id].revision:
            newest[alarm.id] = alarm
    return sorted(newest.values(), key=lambda alarm: -alarm.started_us)


def _silences(stream: Stream, kafka: KafkaSettings, reader: Reader) -> list[Silence]:
    from consumers.alerts.alert import Silences

    found = Silences(kafka, stream, reader)
    try:
        return sorted(found.current, key=lambda each: each.ends_us)
    finally:
        found.close()


def _alarm_line(alarm: Alarm) -> str:
    from millstream.alerts.alarm import iso

    state = alarm.severity.value if alarm.firing else "resolved"
    text = f"{state:<9} {iso(alarm.started_us)}  {alarm.id}  {alarm.rule}: {alarm.summary}"
    return printable(text)


def _silence_line(silence: Silence, now_us: int) -> str:
    from millstream.alerts.alarm import iso

    matchers = " ".join(str(matcher) for matcher in silence.matchers)
    state = "silence" if silence.in_force(now_us) else "past" if now_us >= silence.ends_us else "to"
    who = f" by {silence.author}" if silence.author else ""
    why = f": {silence.comment}" if silence.comment else ""
    return printable(f"{state:<9} until {iso(silence.ends_us)}  {silence.id}  {matchers}{who}{why}")


def _length_us(text: str) -> int:
    length_s = seconds("--for", text, "smhd")
    if length_s > SILENCE_S_MAX:
        raise SettingsInvalid(f"--for {text} is too long", "Give at most 366d")
    return length_s * 1_000_000
