"""`millstream tail`: a topic's records as they come."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, datetime, time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import (
    Kafka,
    RegistryUrl,
    StreamPath,
    kafka_settings,
    registry_settings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from consumers.tail import Seen


class TopicOfStream(StrEnum):
    """Which topic to show."""

    PREDICTIONS = "predictions"
    EVENTS = "events"
    DEAD_LETTERS = "dead-letters"


def tail(
    path: StreamPath,
    topic: Annotated[
        TopicOfStream, typer.Option(help="Which of its topics.")
    ] = TopicOfStream.PREDICTIONS,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest record, not with now.")
    ] = False,
    events: Annotated[int | None, typer.Option(min=1, help="Leave after so many records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    kafka: Kafka = None,
    registry: RegistryUrl = None,
) -> None:
    """Show a stream's predictions as they come, or its events or dead letters.

    Reads: stream.toml and one topic of the stream, committed records only. It joins no consumer
    group and commits nothing, so it never takes a record from anyone.

    Writes: lines to standard output, with --json one object each: the record's fields, and
    kafka_partition, kafka_offset, kafka_timestamp. Private fields are masked; of a dead letter only
    the headers are shown. A record that cannot be decoded has `undecodable` with the reason.

    Needs: the broker, and the schema registry (not for dead letters).

    Ends with 0 after --events records, at Ctrl-C, or when its reader has gone (`| head`).

    Example: millstream tail examples/loans/stream.toml --from-beginning --json | head -3
    """
    from consumers.registry import Registry
    from consumers.tail import Kind, follow, reader_of
    from millstream.stream import Stream

    stream = Stream.load(path)
    kind = Kind(topic.value)
    brokers = kafka_settings(kafka)
    registry_client = Registry(registry_settings(registry))
    reader = reader_of(kind, stream, registry_client.schema)
    write = _write_json if as_json else _Lines(topic).write
    left = events
    try:
        with closing(
            follow(brokers, stream.topic(kind.key), from_beginning=from_beginning)
        ) as batches:
            for records in batches:
                if records:
                    shown = reader.read(records)[:left]
                    write(shown)
                    left = None if left is None else left - len(shown)
                    if left == 0:
                        return
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # nobody reads any more; Python's own flush at exit must find somewhere to write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_json(records: Sequence[Seen]) -> None:
    """One line each, flushed together."""
    sys.stdout.write("".join(json_line(record) + "\n" for record in records))
    sys.stdout.flush()


def json_line(record: Seen) -> str:
    """A record as one JSON object; a number that JSON lacks (NaN, infinities) as text."""
    shown = record.fields | {
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
        "kafka_timestamp": record.timestamp,
    }
    if record.undecodable is not None:
        shown["undecodable"] = record.undecodable
    return json.dumps(plain(shown), allow_nan=False)


def plain(value: Any) -> Any:
    """The value in JSON's types."""
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or isinstance(value, int | str | None) else str(value)


class _Lines:
    """Aligned lines with a heading, coloured where standard output is a terminal."""

    def __init__(self, topic: TopicOfStream) -> None:
        self._columns = _COLUMNS[topic]
        self._console: Console | None = None

    def write(self, records: Sequence[Seen]) -> None:
        console = self._console
        if console is None:
            from rich.console import Console

            console = self._console = Console(highlight=False, markup=False, emoji=False)
            titles = [title.ljust(width) for title, width, _ in self._columns]
            self._print(console, "  ".join(titles), "bold")
        for record in records:
            if record.undecodable is not None:
                where = f"partition {record.partition}, offset {record.offset}"
                self._print(console, f"undecodable: {where}: {record.undecodable}", "red")
                continue
            cells = [
                printable(show(record))[: width or None].ljust(width)
                for _, width, show in self._columns
            ]
            self._print(console, "  ".join(cells), "")
        sys.stdout.flush()

    def _print(self, console: Console, text: str, style: str) -> None:
        console.print(printable(text), style=style, soft_wrap=True)


def printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _of(name: str) -> Callable[[Seen], str]:
    return lambda record: _cell(record.fields.get(name))


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return value.strftime("%H:%M:%S.%f")[:-3]
        case float():
            return f"{value:.6g}"
    return str(value)


def _where(record: Seen) -> str:
    return f"{record.partition}:{record.offset}"


def _latency(record: Seen) -> str:
    took = record.fields["scored_at"] - record.fields["published_at"]
    return f"{took.total_seconds() * 1000:.1f}"


def _all_fields(record: Seen) -> str:
    shown = plain(record.fields)
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _source(record: Seen) -> str:
    fields = record.fields
    return f"{_cell(fields['source_partition'])}:{_cell(fields['source_offset'])}"


_COLUMNS: dict[TopicOfStream, list[tuple[str, int, Callable[[Seen], str]]]] = {
    TopicOfStream.PREDICTIONS: [
        ("scored at", 12, _of("scored_at")),
        ("event", 20, _of("event_id")),
        ("key", 16, _of("key")),
        ("label", 12, _of("label")),
        ("score", 10, _of("score")),
        ("sure", 8, _of("confidence")),
        ("ms", 9, _latency),
        ("version", 12, _of("model_version")),
        ("at", 0, _where),
    ],
    TopicOfStream.EVENTS: [("at", 14, _where), ("event", 0, _all_fields)],
    TopicOfStream.DEAD_LETTERS: [
        ("refused at", 26, _of("refused_at")),
        ("event at", 14, _source),
        ("stage", 8, _of("stage")),
        ("error", 22, _of("error")),
        ("reason", 0, _of("reason")),
    ],
}
