"""`millstream letters` as it is typed, on the embedded broker."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from consumers.registry import Registry
from millstream.cli.letters import app
from millstream.columnar import Encoder, frame
from millstream.contracts import topic_table
from millstream.errors import OperatorNeeded, SettingsInvalid
from millstream.letters import DeadLetter, to_headers
from millstream.settings import RegistrySettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.streams import applications, make_loans

LETTER = DeadLetter(
    source_topic="",
    source_partition=0,
    source_offset=0,
    stage="decode",
    error="truncated",
    reason="field loan: the record ends before the value does",
    attempt=1,
    event_schema_id=1,
    model="loans",
    model_version="1",
    refused_at="2024-01-01T00:00:00.000+00:00",
)
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder)
    return folder


@pytest.fixture
def stream(loans: Path, embedded: EmbeddedBroker) -> Stream:
    """A loans stream of this test's own whose applicant is private, with its topics."""
    text = (loans / "stream.toml").read_text("utf-8").partition("[privacy]")[0]
    name = f"t{uuid.uuid4().hex[:8]}"
    path = loans / f"{name}.toml"
    text = text.replace('"loans"', f'"{name}"', 1)
    path.write_text(f'{text}\n[privacy]\nprivate = ["applicant"]\n')
    for topic in topic_table().values():
        embedded.create_topic(topic.name(name), 2)
    return Stream.load(path)


@pytest.fixture
def values(stream: Stream, embedded_registry: EmbeddedRegistry) -> list[bytes]:
    """Six framed events."""
    client = Registry(RegistrySettings(url=embedded_registry.url))
    text = stream.schema_of_event.text
    schema_id = client.register(f"{stream.topic('events')}-value", text)
    client.close()
    return Encoder(text, frame(schema_id)).encode(applications(6))


@pytest.fixture
def run(
    stream: Stream,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """A command of `letters` on the stream; what an operator must mend is raised."""
    monkeypatch.setenv("MILLSTREAM_KAFKA_EMBEDDED", "true")
    monkeypatch.setenv("MILLSTREAM_KAFKA_BOOTSTRAP", embedded.bootstrap)
    monkeypatch.setenv("MILLSTREAM_REGISTRY_URL", embedded_registry.url)

    def invoke(command: str, *options: str) -> Result:
        done = CliRunner().invoke(app, [command, str(stream.path), *options])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return invoke


def file_letters(stream: Stream, bootstrap: str, values: list[bytes], **changed: Any) -> None:
    """A letter of each, of events 0.. of partition 1."""
    producer = Producer({"bootstrap.servers": bootstrap})
    for offset, value in enumerate(values):
        said = replace(
            LETTER,
            source_topic=stream.topic("events"),
            source_partition=1,
            source_offset=offset,
            **changed,
        )
        headers: Any = to_headers(said, [("trace", b"t-1\x1b[31m")])
        producer.produce(stream.topic("dead_letters"), value, b"Secret-1", 1, headers=headers)
    assert producer.flush(30) == 0


def test_causes_are_listed_with_counts_and_places(
    run: Run, stream: Stream, embedded: EmbeddedBroker, values: list[bytes]
) -> None:
    """As a table and as JSON; without letters it says so."""
    assert "has no such letters" in run("list").stdout
    file_letters(stream, embedded.bootstrap, values)
    file_letters(stream, embedded.bootstrap, values[:1], error="bad_utf8", event_schema_id=None)
    shown = run("list").stdout
    assert "7 letters in" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["6", "0", "decode", "truncated", "1", "1"] in [row[:6] for row in rows]
    assert ["1", "0", "decode", "bad_utf8", "1", "-"] in [row[:6] for row in rows]
    first, second = map(json.loads, run("list", "--json").stdout.splitlines())
    assert (first["letters"], first["partitions"]) == (6, [1])
    assert first["samples"] == ["1:0", "1:1", "1:2"]
    assert second["event_schema_id"] is None
    (only,) = map(json.loads, run("list", "--json", "--error", "bad_utf8").stdout.splitlines())
    assert only == second


def test_a_letter_is_shown_without_what_is_private(
    run: Run, stream: Stream, embedded: EmbeddedBroker, values: list[bytes]
) -> None:
    """Nor with what could steer a terminal; the same letter by its event's place."""
    file_letters(stream, embedded.bootstrap, [value[:-10] for value in values])
    shown = run("show", "1:2").stdout
    assert "field     application_id = L-2" in shown
    assert "field     applicant = (private)" in shown
    assert "key       (private)" in shown
    assert "Secret" not in shown and "\x1b" not in shown
    assert "ends before the value does" in shown
    assert "not shown: the stream has private fields" in shown
    assert run("show", "1:2", "--source").stdout == shown
    fields = json.loads(run("show", "1:2", "--json").stdout)
    assert (fields["letter"], fields["fields"]["applicant"]) == ("1:2", "(private)")
    assert (fields["rest"], fields["key"]) == ("", "(private)")
    assert fields["headers"] == [["trace", "t-1\x1b[31m"]]


@pytest.mark.parametrize("place", ["1", "1:", "a:b", "-1:0", "1:2:3", "0:9999999999999999999"])
def test_what_is_no_place_is_named(place: str, run: Run) -> None:
    """Before anything is asked."""
    with pytest.raises(SettingsInvalid, match="is no place"):
        run("show", "--", place)


def test_a_place_without_a_letter_is_the_operators(run: Run) -> None:
    """With the command that shows where some are."""
    with pytest.raises(OperatorNeeded, match="has no letter at 0:5") as caught:
        run("show", "0:5")
    assert "millstream letters list" in caught.value.remedy


def test_a_redrive_says_what_it_did_and_a_dry_one_what_it_would(
    run: Run, stream: Stream, embedded: EmbeddedBroker, values: list[bytes]
) -> None:
    """Again and again; what is left would be refused again, and then it ends with 1."""
    file_letters(stream, embedded.bootstrap, [*values[:4], values[4][:-1]])
    dry = run("redrive", "--dry-run")
    assert dry.stdout.splitlines() == [
        "4 letters would be redriven",
        "1 would be refused again and stay letters:",
        "  1  decode: truncated: field loan: the record ends before the value does",
    ]
    done = json.loads(run("redrive", "--json").stdout)
    assert (done["dry_run"], done["redriven"], done["redriven_before"]) == (False, 4, 0)
    assert [again["letters"] for again in done["refused_again"]] == [1]
    last = run("redrive")
    assert last.exit_code == 1
    assert "4 were redriven before" in last.stdout
    (group,) = map(json.loads, run("list", "--json").stdout.splitlines())
    assert (group["letters"], group["redriven"]) == (5, 4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--since", "yesterday"], "--since yesterday is no ISO 8601 time"),
        (["--stage", "decoding"], "--stage decoding is no stage"),
    ],
)
def test_an_option_that_can_match_nothing_is_refused(
    options: list[str], said: str, run: Run
) -> None:
    """A misspelt filter would otherwise say that all is well."""
    for command in ("list", "redrive"):
        with pytest.raises(SettingsInvalid, match=said):
            run(command, *options)


def test_since_leaves_older_letters_out(
    run: Run, stream: Stream, embedded: EmbeddedBroker, values: list[bytes]
) -> None:
    """A time without a zone is UTC."""
    file_letters(stream, embedded.bootstrap, values)
    assert "6 letters" in run("list", "--since", "2024-01-01").stdout
    assert "has no such letters" in run("list", "--since", "2999-01-01T00:00:00").stdout
