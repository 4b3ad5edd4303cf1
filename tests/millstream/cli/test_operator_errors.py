"""What a person meets when something is wrong: one line with the thing, one with the remedy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.kafka.broker import Broker
from tests.streams import LOANS, make_loans

NOBODY = "127.0.0.1:9"


def millstream(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would."""
    command = [sys.executable, "-m", "millstream", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def assert_operator_must_act(run: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, the words in two lines, no stack trace."""
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    said = [line for line in run.stderr.splitlines() if line.startswith(("millstream:", "  "))]
    assert len(said) == 2, run.stderr
    for word in words:
        assert word in "\n".join(said), run.stderr


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole stream."""
    return make_loans(tmp_path_factory.mktemp("loans") / "loans").stream.path


@pytest.fixture
def broken(loans: Path, tmp_path: Path) -> Path:
    """A copy of it to break; its stream.toml."""
    shutil.copytree(loans.parent, tmp_path / "loans")
    return tmp_path / "loans" / "stream.toml"


def test_a_missing_stream_file_is_named() -> None:
    """The path and what to give."""
    assert_operator_must_act(millstream("score", "no/such.toml"), "no/such.toml", "does not exist")


def test_a_misspelt_key_is_named_with_the_nearest(broken: Path) -> None:
    """`partition` is answered with `partitions`."""
    broken.write_text(broken.read_text().replace("partitions =", "partition ="))
    run = millstream("score", broken, "--kafka", NOBODY)
    assert_operator_must_act(run, "serving.partition", "partitions")


def test_a_missing_bundle_is_named(broken: Path) -> None:
    """`check --offline` names the folder, and exits with 2."""
    shutil.rmtree(broken.parent / "bundle")
    run = millstream("check", broken, "--offline")
    assert run.returncode == 2
    assert str(broken.parent / "bundle") in run.stdout
    assert "Traceback" not in run.stderr + run.stdout


def test_a_corrupt_bundle_is_named(broken: Path) -> None:
    """One changed byte of the model."""
    model = broken.parent / "bundle" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    run = millstream("check", broken, "--offline")
    assert run.returncode == 2
    assert "digest" in run.stdout


def test_a_schema_that_lacks_a_feature_is_named(broken: Path) -> None:
    """The event schema no longer has a field that the model needs."""
    schema = broken.parent / "event.v1.avsc"
    schema.write_text(schema.read_text().replace('"hyears"', '"years_owned"'))
    run = millstream("check", broken, "--offline")
    assert_operator_must_act(run, "hyears", "features.order")


def test_an_unreachable_broker_is_named(loans: Path) -> None:
    """The address, and how to start one."""
    run = millstream("score", loans, "--kafka", NOBODY)
    assert_operator_must_act(run, NOBODY, "MILLSTREAM_KAFKA_BOOTSTRAP")


def test_a_misspelt_setting_is_named(loans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables are settings too."""
    monkeypatch.setenv("MILLSTREAM_KAFKA_BOOTSTRAPS", "x")
    run = millstream("score", loans)
    assert_operator_must_act(run, "MILLSTREAM_KAFKA_BOOTSTRAPS", "MILLSTREAM_KAFKA_BOOTSTRAP?)")


def test_an_unreachable_clickhouse_is_named(loans: Path) -> None:
    """The address, and how to start one."""
    run = millstream("migrate", loans, "--warehouse", f"http://{NOBODY}")
    assert_operator_must_act(run, NOBODY, "MILLSTREAM_WAREHOUSE_URL")


def test_missing_topics_are_named(kafka: Broker, broken: Path) -> None:
    """Before anything is read."""
    broken.write_text(broken.read_text().replace('name = "loans"', 'name = "no_topics"'))
    run = millstream("score", broken, "--kafka", kafka.bootstrap)
    assert_operator_must_act(run, "no_topics.events", "millstream topics")


def test_a_wrong_partition_count_is_named(kafka: Broker, broken: Path) -> None:
    """Topics of 4 partitions, and a stream that says 6."""
    broken.write_text(broken.read_text().replace('name = "loans"', 'name = "wrong_count"'))
    made = millstream("topics", broken, "--kafka", kafka.bootstrap)
    assert made.returncode == 0, made.stderr
    again = millstream("topics", broken, "--kafka", kafka.bootstrap)
    assert "every topic is there" in again.stdout
    broken.write_text(broken.read_text().replace("partitions = 4", "partitions = 6"))
    run = millstream("score", broken, "--kafka", kafka.bootstrap)
    assert_operator_must_act(run, "wrong_count.events has 4 partitions", "6")


@pytest.mark.parametrize(
    "command",
    ["check", "init", "topics", "migrate", "up", "score", "sink", "produce", "tail", "warehouse"],
)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    """--help says what it reads, writes and needs, and how to call it."""
    run = millstream(command, "--help")
    assert run.returncode == 0
    assert f"Example: millstream {command}" in " ".join(run.stdout.split())


def test_the_shipped_example_is_valid() -> None:
    """All but its bundle, which the demo trains."""
    run = millstream("check", LOANS / "stream.toml", "--offline")
    assert "ok   stream.toml and event schema" in run.stdout
