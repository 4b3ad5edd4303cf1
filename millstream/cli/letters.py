"""`millstream letters`: dead letters grouped, shown one by one, and redriven."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    kafka_settings,
    log_to_stderr,
    registry_settings,
    time_of,
)
from millstream.cli.tail import plain, printable
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from consumers.letters import Filed, Group, Partial, Wanted
    from consumers.redrive import Account
    from millstream.stream import Stream

TEXT_CHARS_MAX = 200
HEX_BYTES_A_LINE = 16

app = typer.Typer(
    name="letters",
    help="List, show and redrive a stream's dead letters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="JSON: one object a line.")]
Stage = Annotated[str | None, typer.Option(help="Only those refused at this stage.")]
Error = Annotated[str | None, typer.Option(help="Only those with this error.")]
SchemaId = Annotated[int | None, typer.Option(help="Only those of this schema id.")]
Since = Annotated[
    str | None, typer.Option(help="Only those written since: ISO 8601, UTC where it has no zone.")
]


@app.command(name="list")
def list_letters(
    path: StreamPath,
    stage: Stage = None,
    error: Error = None,
    schema_id: SchemaId = None,
    since: Since = None,
    as_json: Json = False,
    kafka: Kafka = None,
) -> None:
    """Group a stream's dead letters by cause: stage, error, model version and schema id.

    Reads NAME.dead-letters and NAME.redrives to their ends, committed records only, without joining
    a group. Says for each cause how many there are, how many of them were redriven, when the first
    and the last came, in which partitions, and where a few of them stand.

    Example: millstream letters list examples/loans/stream.toml
    """
    from consumers.letters import grouped, read_letters, read_marks
    from millstream.stream import Stream

    log_to_stderr()
    wanted = _wanted(stage, error, schema_id, since)
    stream, brokers = Stream.load(path), kafka_settings(kafka)
    marks = read_marks(brokers, stream.topic("redrives"), stream.topic("events"))
    groups = grouped(read_letters(brokers, stream.topic("dead_letters")), marks, wanted)
    if as_json:
        for group in groups:
            typer.echo(json.dumps(_group_fields(group)))
        return
    total = sum(group.count for group in groups)
    if not total:
        typer.echo(f"{stream.topic('dead_letters')} has no such letters")
        return
    typer.echo(f"{total:,} letters in {stream.topic('dead_letters')}, by cause:")
    titles = ("letters", "redriven", "stage", "error", "model", "schema", "first", "last", "at")
    _table([titles, *(_group_cells(group) for group in groups)])
    partition, offset = groups[0].samples[0]
    typer.echo(f"\nOne of them: millstream letters show {path} {partition}:{offset}")


@app.command()
def show(
    path: StreamPath,
    place: Annotated[str, typer.Argument(metavar="P:O", help="Partition and offset.")],
    source: Annotated[
        bool, typer.Option("--source", help="P:O is the refused event's place, not the letter's.")
    ] = False,
    as_json: Json = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Show one dead letter: why it was refused, and its event decoded as far as it goes.

    The fields before the damage are shown with private ones masked, then the first bytes of the
    rest. Where the stream has private fields no undecoded byte is shown. Needs the schema registry.

    Example: millstream letters show examples/loans/stream.toml 2:41
    """
    from consumers.letters import decode_as_far, find, find_by_source
    from consumers.registry import Registry
    from millstream.stream import Stream

    log_to_stderr()
    partition, offset = _place(place)
    stream, brokers = Stream.load(path), kafka_settings(kafka)
    search = find_by_source if source else find
    letter = search(brokers, stream.topic("dead_letters"), partition, offset)
    partial = decode_as_far(
        letter.record.value(), stream, Registry(registry_settings(registry)).schema
    )
    if as_json:
        typer.echo(json.dumps(plain(_shown(letter, partial, stream)), allow_nan=False))
        return
    for line in _lines(_shown(letter, partial, stream)):
        typer.echo(printable(line))


@app.command()
def redrive(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    stage: Stage = None,
    error: Error = None,
    schema_id: SchemaId = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Redrive at most so many.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen; change nothing.")
    ] = False,
    as_json: Json = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Publish dead letters again after a fix, each once.

    Each chosen letter is scored with the stream's bundle and the registry's schemas as they are
    now. Those that would succeed are published to NAME.events as new events, in their first order,
    and marked in NAME.redrives in the same transaction; the running scorer answers them (restart it
    first if the fix is a new bundle). The others stay letters. Killed at any point, or started
    twice, it can be run again: no letter is published twice.

    Ends with 0, or with 1 if there were letters and none of them would succeed.

    Example: millstream letters redrive examples/loans/stream.toml --error nan_feature --dry-run
    """
    from consumers.metrics.observed import observed
    from consumers.redrive import run_redrive
    from consumers.topics import require_topics
    from millstream.settings import ScorerSettings, from_environment
    from millstream.stream import Stream

    log_to_stderr()
    wanted = _wanted(stage, error, schema_id, since, limit)
    stream, brokers = Stream.load(path), kafka_settings(kafka)
    settings = from_environment(ScorerSettings, os.environ)
    require_topics(stream, brokers)
    with observed("redrive", stream, os.environ, is_errand=True):
        account = run_redrive(
            stream, brokers, registry_settings(registry), settings, wanted, dry_run=dry_run
        )
    if as_json:
        typer.echo(json.dumps(_account_fields(account, dry_run=dry_run)))
    else:
        for line in _account_lines(account, dry_run=dry_run):
            typer.echo(line)
    if account.refused and not account.redriven:
        raise typer.Exit(1)


def _wanted(
    stage: str | None,
    error: str | None,
    schema_id: int | None,
    since: str | None,
    limit: int | None = None,
) -> Wanted:
    from consumers.letters import Wanted
    from millstream.errors import Stage as Stages

    if stage is not None and stage not in set(Stages):
        raise SettingsInvalid(
            f"--stage {stage} is no stage", f"Give one of {', '.join(sorted(Stages))}"
        )
    return Wanted(stage, error, schema_id, time_of("--since", since), limit)


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text, re.ASCII)
    if found is None:
        raise SettingsInvalid(
            f"{text} is no place", "Write PARTITION:OFFSET, as `millstream letters list` does"
        )
    return int(found[1]), int(found[2])


def _group_fields(group: Group) -> dict[str, Any]:
    cause = group.cause
    return {
        "stage": cause.stage,
        "error": cause.error,
        "model_version": cause.model_version,
        "event_schema_id": cause.event_schema_id,
        "letters": group.count,
        "redriven": group.redriven,
        "first": group.first.isoformat() if group.first else None,
        "last": group.last.isoformat() if group.last else None,
        "partitions": sorted(group.partitions),
        "samples": [f"{partition}:{offset}" for partition, offset in group.samples],
    }


def _group_cells(group: Group) -> tuple[str, ...]:
    cause = group.cause
    times = [f"{time:%Y-%m-%d %H:%M:%S}" if time else "-" for time in (group.first, group.last)]
    return (
        f"{group.count:,}",
        f"{group.redriven:,}",
        cause.stage or "-",
        cause.error,
        cause.model_version or "-",
        "-" if cause.event_schema_id is None else str(cause.event_schema_id),
        *times,
        " ".join(f"{partition}:{offset}" for partition, offset in group.samples),
    )


def _table(rows: list[tuple[str, ...]]) -> None:
    shown = [[printable(cell)[:40] for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    for row in shown:
        cells = zip(row, widths, strict=True)
        typer.echo("  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def _shown(letter: Filed, partial: Partial, stream: Stream) -> dict[str, Any]:
    """Everything that may be shown of a letter."""
    from consumers.letters import MASK
    from millstream.contracts import dead_letter_headers

    ours = set(dead_letter_headers().values())
    said, record = letter.letter, letter.record
    key: Any = record.key()
    return {
        "letter": f"{letter.partition}:{letter.offset}",
        "written": letter.time,
        "source": str(said.source),
        "stage": said.stage,
        "error": said.error,
        "reason": said.reason,
        "attempt": said.attempt,
        "model": f"{said.model} {said.model_version}",
        "event_schema_id": said.event_schema_id,
        "key": MASK if stream.event.key in stream.privacy.private else _text(key),
        "headers": [[n, _text(v)] for n, v in record.headers() or [] if n not in ours],
        "fields": partial.fields,
        "stopped": partial.reason,
        "rest_bytes": partial.rest_bytes,
        "rest": partial.rest.hex(),
    }


def _text(raw: Any) -> str | None:
    """The bytes as text, cut at a bound."""
    if not isinstance(raw, bytes):
        return raw if raw is None else str(raw)
    text = raw[: 4 * TEXT_CHARS_MAX].decode("utf-8", "backslashreplace")
    whole = len(raw) <= 4 * TEXT_CHARS_MAX and len(text) <= TEXT_CHARS_MAX
    return text if whole else f"{text[:TEXT_CHARS_MAX]}... ({len(raw):,} bytes)"


def _lines(shown: dict[str, Any]) -> Iterable[str]:
    for name in ("letter", "written", "source", "stage", "error", "reason", "attempt", "model"):
        yield f"{name:<10}{shown[name]}"
    yield f"{'schema id':<10}{shown['event_schema_id']}"
    yield f"{'key':<10}{shown['key']}"
    for name, value in shown["headers"]:
        yield f"{'header':<10}{name} = {value}"
    for name, value in plain(shown["fields"]).items():
        yield f"{'field':<10}{name} = {_text(str(value).encode())}"
    yield f"{'event':<10}{shown['stopped'] or 'read to its end'}"
    left = shown["rest_bytes"]
    if left and not shown["rest"]:
        yield f"{'rest':<10}{left:,} bytes, not shown: the stream has private fields"
    elif left:
        yield f"{'rest':<10}{left:,} bytes"
        rest = bytes.fromhex(shown["rest"])
        for start in range(0, len(rest), HEX_BYTES_A_LINE):
            part = rest[start : start + HEX_BYTES_A_LINE]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            yield f"{start:>8}  {part.hex(' '):<47}  {text}"


def _account_fields(account: Account, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "redriven": account.redriven,
        "refused_again": [
            {"stage": stage, "error": error, "letters": again.count, "reason": again.reason}
            for (stage, error), again in account.again.items()
        ],
        "redriven_before": account.already,
        "incomplete": account.incomplete,
        "expired": account.gone,
    }


def _account_lines(account: Account, *, dry_run: bool) -> Iterable[str]:
    would = "would be" if dry_run else "were"
    yield f"{account.redriven:,} letters {would} redriven"
    if account.refused:
        yield f"{account.refused:,} would be refused again and stay letters:"
        for (stage, error), again in sorted(account.again.items(), key=lambda i: -i[1].count):
            yield printable(f"  {again.count:,}  {stage}: {error}: {again.reason}")
    if account.already:
        yield f"{account.already:,} were redriven before"
    if account.incomplete:
        yield (
            f"{account.incomplete:,} lack a part that was too large for a letter; their producer "
            "can publish them again"
        )
    if account.gone:
        yield f"{account.gone:,} expired while they were read"
