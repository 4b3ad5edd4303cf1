"""`millstream retrain` and `retrainings` as typed, with the embedded broker and registry."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from consumers.registry import Registry
from consumers.retraining.log import Journal
from millstream.cli.retrain import retrain, retrainings
from millstream.contracts import topic_table
from millstream.errors import SettingsInvalid
from millstream.retraining.stages import Outcome, Stage, Status, Step, Trigger
from millstream.settings import KafkaSettings, RegistrySettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.warehouses import stream_in

app = typer.Typer()
app.command()(retrain)
app.command()(retrainings)


@pytest.fixture
def stream(tmp_path: Path, embedded: EmbeddedBroker) -> Stream:
    """A stream whose topics no other test has."""
    made = stream_in(tmp_path, f"s{uuid.uuid4().hex[:12]}")
    for topic in topic_table().values():
        embedded.create_topic(topic.name(made.name), 1)
    return made


def typed(stream: Stream, broker: EmbeddedBroker, registry: EmbeddedRegistry, *words: str) -> str:
    """What it prints."""
    parts = ["--kafka", broker.bootstrap, "--registry", registry.url]
    argv = [words[0], str(stream.path), *words[1:], *parts]
    result = CliRunner(env={"MILLSTREAM_KAFKA_EMBEDDED": "true"}).invoke(app, argv)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    "words", [["--once"], ["--ask"], ["--reason", "x"], ["--once", "--ask", "--reason", "x"]]
)
def test_a_retraining_by_hand_has_one_way_and_a_reason(
    stream: Stream, embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry, words: list[str]
) -> None:
    """Before anything is opened."""
    with pytest.raises(SettingsInvalid, match="--reason goes with"):
        typed(stream, embedded, embedded_registry, "retrain", *words)


def test_retrainings_are_listed_with_their_reasons_and_ends(
    stream: Stream, embedded: EmbeddedBroker, embedded_registry: EmbeddedRegistry
) -> None:
    """What was asked for, too; as JSON with every fact."""
    kafka = KafkaSettings(bootstrap=embedded.bootstrap, embedded=True)
    client = Registry(RegistrySettings(url=embedded_registry.url))
    journal = Journal(stream, kafka, client)
    for stage, status, outcome in (
        (Stage.COLLECT, Status.STARTED, None),
        (Stage.COLLECT, Status.DONE, None),
        (Stage.TRAIN, Status.STARTED, None),
        (Stage.TRAIN, Status.OVER, Outcome.KEPT),
    ):
        journal.write(
            Step(
                "a", 1, stream.name, stage, status, Trigger.SCHEDULE, f"{status} it is", 5_000_000,
                outcome=outcome, facts={"rows": 7},
            )
        )  # fmt: skip
    asked = typed(
        stream, embedded, embedded_registry, "retrain", "--ask", "--reason", "a new product"
    )
    assert "asked for retraining 2" in asked
    listed = typed(stream, embedded, embedded_registry, "retrainings").splitlines()
    assert listed == [
        "   1 1970-01-01T00:00:05.000Z schedule: started it is",
        "       collect done",
        "       kept in train: over it is",
        listed[3],
        "       asked for, not begun",
    ]
    assert listed[3].endswith("manual: a new product")
    told = typed(stream, embedded, embedded_registry, "retrainings", "--json").splitlines()
    assert [json.loads(line)["outcome"] for line in told] == ["kept", None]
    assert json.loads(told[0])["stages"] == {"collect": {"rows": 7}}
    journal.close()
