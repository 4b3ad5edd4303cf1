"""The producer examples where something is wrong: tests/broker/test_producers.py has the rest."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from millstream.contract.kit import examples
from millstream.stream import Stream
from ops.process import free_ports
from ops.registry.process import EmbeddedRegistry
from tests.broker.foreign import STARTS
from tests.streams import LOANS

pytestmark = pytest.mark.broker  # needs Java, Maven and Node, as those do
NOBODY = f"127.0.0.1:{free_ports(1)[0]}"


def run(language: str, file: Path, registry: str, key: str = "applicant") -> tuple[int, str]:
    """Exit code and what it says of its own on standard error."""
    schema = str(LOANS / "event.v1.avsc")
    words = ["--bootstrap", NOBODY, "--registry", registry, "--topic", "t", "--schema", schema]
    ran = subprocess.run(
        [*STARTS[language](), *words, "--key", key, str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A file whose first line is cut."""
    file = tmp_path / "events.jsonl"
    good = json.dumps(examples(Stream.load(LOANS / "stream.toml"))[0])
    file.write_text(f"{good[:-5]}\n{good}\n")
    return file


@pytest.mark.parametrize("language", list(STARTS))
def test_a_key_that_is_no_field_is_refused_before_anything_is_published(
    language: str, events: Path
) -> None:
    """Else every event would have one key, and lie on one partition."""
    code, said = run(language, events, f"http://{NOBODY}", key="aplicant")
    assert code == 2
    assert "the schema has no field aplicant for the key" in said.splitlines()[-1]


@pytest.mark.parametrize("language", list(STARTS))
def test_a_registry_that_does_not_answer_is_told_in_a_line(language: str, events: Path) -> None:
    """And is no success."""
    events.write_text(events.read_text().splitlines()[1] + "\n")
    code, said = run(language, events, f"http://{NOBODY}")
    assert code == 1
    assert "refused" in said or "ConnectException" in said or "ECONNREFUSED" in said
    assert "Traceback" not in said
    assert "\tat " not in said
    assert "    at " not in said


@pytest.mark.parametrize("language", ["python", "java"])
def test_a_line_that_is_no_event_is_told_with_its_number(
    language: str, events: Path, embedded_registry: EmbeddedRegistry
) -> None:
    """Nothing stood before it, so nothing is waited for. (kafkajs wants its broker first.)"""
    code, said = run(language, events, embedded_registry.url)
    assert code == 1
    assert "line 1: " in said
