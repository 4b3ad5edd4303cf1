"""`millstream produce`: a file's events onto the stream's events topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    kafka_settings,
    registry_settings,
)
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from consumers.produce import Pace, Published
    from millstream.sources import EventFile

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: the file is not out whole."""


class Timestamps(StrEnum):
    """What the records' Kafka timestamps say."""

    NOW = "now"
    EVENT = "event"


EventPath = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Events: .csv, .jsonl, .ndjson (each or .gz) or .parquet."),
]
Rate = Annotated[float | None, typer.Option(min=0.001, help="At most so many events a second.")]
ByTime = Annotated[
    bool, typer.Option("--by-event-time", help="Space events as their own times are.")
]
Speedup = Annotated[
    float | None, typer.Option(min=0.000001, help="With --by-event-time: so much faster.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")]
StartRow = Annotated[int, typer.Option(min=0, help="First row to read; rows count from 0.")]
StopRow = Annotated[int | None, typer.Option(min=1, help="Row to stop before. Else the end.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="FIELD=COLUMN", help="The field is in this column."),
]
Constants = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="The field has this value in every row."),
]
Number = Annotated[
    str | None,
    typer.Option(metavar="FIELD[=PREFIX]", help="Fill an id field with PREFIX-ROW."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out, and count them.")]
KafkaTimes = Annotated[
    Timestamps,
    typer.Option(help="Kafka timestamps. event: the broker's retention may delete old ones."),
]


def produce(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    path: StreamPath,
    file: EventPath,
    rate: Rate = None,
    by_event_time: ByTime = False,
    speedup: Speedup = None,
    limit: Limit = None,
    start_row: StartRow = 0,
    stop_row: StopRow = None,
    columns: Columns = None,
    constants: Constants = None,
    number: Number = None,
    skip_bad: SkipBad = False,
    timestamps: KafkaTimes = Timestamps.NOW,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Publish a file's events to the stream's events topic.

    Reads: stream.toml, its event schema, and FILE. A column goes into the field of its name;
    columns that are no field are left out. An empty CSV cell is null where the field may be null.
    Times are ISO 8601 (UTC where no zone is given), or whole numbers in the field's unit.

    Writes: one Avro record per row to the topic NAME.events, keyed by the key field, partitioned
    as Java's clients do; and the event schema to the registry.

    Needs: a broker that has the topic (`millstream topics`), and the schema registry.

    Ends with 0 when the broker has acknowledged every event, 2 for a bad option, file or row, 3
    when events were not delivered, 130 after Ctrl-C (what was queued is still delivered).

    Example: millstream produce examples/loans/stream.toml loans.csv --rate 5000
    """
    from consumers.produce import EventProducer, interrupt_noticed, publish_events
    from consumers.registry import Registry, subject_of
    from consumers.topics import require_topics
    from millstream.columnar import Encoder, frame
    from millstream.sources import EventFile, Layout, first_events
    from millstream.stream import Stream

    stream = Stream.load(path)
    layout = Layout(
        columns=_pairs("--map", columns),
        constants=_pairs("--set", constants),
        number=_number(number, file),
        start_row=start_row,
        stop_row=stop_row,
        skip_bad=skip_bad,
    )
    pace = _pace(rate, by_event_time, speedup, stream.event.time)
    schema = stream.schema_of_event.text
    events = EventFile(file, schema, layout, stream.privacy.private)
    brokers = kafka_settings(kafka)
    topic = stream.topic("events")
    require_topics(stream, brokers)
    schema_id = Registry(registry_settings(registry)).register(subject_of(topic), schema)
    batches = events.batches() if limit is None else first_events(events.batches(), limit)
    with _progress(events, limit, topic) as progress, interrupt_noticed() as stopped:
        published = publish_events(
            EventProducer(brokers),
            topic,
            batches,
            Encoder(schema, frame(schema_id)),
            stream.event.key,
            pace,
            progress,
            time_column=stream.event.time if timestamps is Timestamps.EVENT else None,
            stopped=stopped,
        )
    _report(published, events, topic)
    if published.interrupted:
        raise typer.Exit(INTERRUPTED)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """FIELD=VALUE options as a dict."""
    pairs: dict[str, str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise SettingsInvalid(f"{option} {text} has no =", f"Write {option} FIELD=...")
        if name in pairs:
            raise SettingsInvalid(f"{option} names {name} twice", "Give it once")
        pairs[name] = value
    return pairs


def _number(given: str | None, file: Path) -> tuple[str, str] | None:
    if given is None:
        return None
    name, equals, prefix = given.partition("=")
    return name, prefix if equals else file.name.partition(".")[0]


def _pace(rate: float | None, by_event_time: bool, speedup: float | None, time: str) -> Pace:
    from consumers.produce import AtRate, ByEventTime, FlatOut

    if rate is not None and by_event_time:
        raise SettingsInvalid("--rate and --by-event-time are given together", "Choose one")
    if speedup is not None and not by_event_time:
        raise SettingsInvalid("--speedup has nothing to speed up", "Add --by-event-time")
    if by_event_time:
        return ByEventTime(time, speedup or 1.0)
    return FlatOut() if rate is None else AtRate(rate)


@contextmanager
def _progress(events: EventFile, limit: int | None, topic: str) -> Iterator[Callable[[int], None]]:
    """A bar with rate and ETA on standard error where that is a terminal, else nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    total = events.rows_estimate()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} events/s"),
        TextColumn("ETA"),
        Remaining(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(topic, total=total if limit is None else min(total, limit), rate="-")

        def advance(count: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=count, rate=f"{speed:,.0f}" if speed else "-")

        yield advance


def _report(published: Published, events: EventFile, topic: str) -> None:
    """One line on what is out, and one each on what was left out."""
    rate = published.count / published.seconds if published.seconds > 0 else 0.0
    stopped = "stopped by Ctrl-C: " if published.interrupted else ""
    typer.echo(
        f"{stopped}{published.count:,} events ({published.bytes:,} bytes) published to {topic} "
        f"in {published.seconds:.1f} s, {rate:,.0f} events/s"
    )
    if events.ignored:
        typer.echo(f"columns that are no field of the event: {', '.join(events.ignored)}", err=True)
    if events.first_problem is not None:
        first = events.first_problem
        where = f"row {first.row}" + (f", column {first.column}" if first.column else "")
        typer.echo(
            f"{events.skipped:,} bad rows left out; the first is {where}: {first.reason}", err=True
        )
