"""`millstream produce` publishes what its options say, and tells what it left out."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
import typer
from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from consumers.produce import key_bytes
from millstream.cli.produce import produce
from millstream.columnar import make_decoder
from millstream.errors import SettingsInvalid
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.test_produce import read, values_of
from tests.streams import LOANS, applications

app = typer.Typer()
app.command()(produce)


@pytest.fixture
def command(
    tmp_path: Path,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
    monkeypatch: pytest.MonkeyPatch,
    topic_name: str,
) -> Callable[..., list[str]]:
    """The arguments of a command for a loans stream of this test's own, on embedded parts."""
    monkeypatch.setenv("MILLSTREAM_KAFKA_EMBEDDED", "true")
    name = "t" + topic_name[-8:]
    text = (LOANS / "stream.toml").read_text("utf-8").replace('"loans"', f'"{name}"', 1)
    (tmp_path / "stream.toml").write_text(text)
    (tmp_path / "event.v1.avsc").write_bytes((LOANS / "event.v1.avsc").read_bytes())

    def made(file: Path, *options: str) -> list[str]:
        parts = ["--kafka", embedded.bootstrap, "--registry", embedded_registry.url]
        return [str(tmp_path / "stream.toml"), str(file), *parts, *options]

    return made


def loans_csv(folder: Path, count: int) -> Path:
    path = folder / "loans.csv"
    pa.csv.write_csv(pa.Table.from_batches([applications(count)]), path)
    return path


def test_the_command_publishes_a_file(
    tmp_path: Path, command: Callable[..., list[str]], embedded: EmbeddedBroker, topic_name: str
) -> None:
    """`millstream produce` publishes the asked rows, registers the schema and says what it did."""
    file = loans_csv(tmp_path, 1_000)
    result = CliRunner().invoke(app, command(file, "--start-row", "100", "--limit", "500"))
    assert result.exit_code == 0, result.output
    topic = f"t{topic_name[-8:]}.events"
    assert "500 events" in result.output and topic in result.output
    records = read(embedded.bootstrap, topic, 500)
    decoder = make_decoder((LOANS / "event.v1.avsc").read_text("utf-8"))
    decoded = decoder.decode(values_of(records), 5).columns
    wanted = applications(1_000).slice(100, 500)
    assert sorted(decoded.to_pylist(), key=str) == sorted(wanted.to_pylist(), key=str)
    assert [r.key() for r in records] == key_bytes(decoded.column("applicant"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--rate", "5", "--by-event-time"], "given together"),
        (["--speedup", "5"], "nothing to speed up"),
        (["--map", "age"], "--map age has no ="),
        (["--set", "car=1", "--set", "car=2"], "names car twice"),
    ],
)
def test_options_that_contradict_each_other(
    tmp_path: Path, command: Callable[..., list[str]], options: list[str], problem: str
) -> None:
    """Options that do not go together are refused before anything is published."""
    result = CliRunner().invoke(app, command(loans_csv(tmp_path, 1), *options))
    assert isinstance(result.exception, SettingsInvalid)
    assert problem in str(result.exception)


def test_skipped_rows_and_ignored_columns_are_told(
    tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    """What was left out is said in one line each."""
    file = loans_csv(tmp_path, 3)
    lines = file.read_text().splitlines()
    lines = [lines[0] + ',"label"', lines[1] + ",1", lines[2] + ",0,?", lines[3] + ",0"]
    file.write_text("\n".join(lines))
    result = CliRunner().invoke(app, command(file, "--skip-bad", "--rate", "1000"))
    assert result.exit_code == 0, result.output
    assert "2 events" in result.output
    assert "no field of the event: label" in result.output
    assert "1 bad rows left out; the first is row 1: it has 14 cells" in result.output


def test_interrupting_the_command_loses_nothing(
    tmp_path: Path, command: Callable[..., list[str]], embedded: EmbeddedBroker, topic_name: str
) -> None:
    """Ctrl-C ends it with 130, and as many events are on the topic as it says."""
    script = "import typer; from millstream.cli.produce import produce; typer.run(produce)"
    argv = [sys.executable, "-c", script, *command(loans_csv(tmp_path, 5_000), "--rate", "200")]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    topic = f"t{topic_name[-8:]}.events"
    try:
        consumer = Consumer(
            {
                "bootstrap.servers": embedded.bootstrap,
                "group.id": "g",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in range(4)])
        deadline = time.monotonic() + 60
        while (first := consumer.poll(1)) is None or first.error():
            assert time.monotonic() < deadline and child.poll() is None, child.stderr
        consumer.close()
        child.send_signal(signal.SIGINT)
        said, complaints = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, complaints
    assert said.startswith("stopped by Ctrl-C: ")
    count = int(said.split()[3].replace(",", ""))
    assert 0 < count < 5_000
    assert len(read(embedded.bootstrap, topic, count)) == count
