"""The jars are fetched once, by whoever comes first, whatever happened before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.errors import OperatorNeeded
from ops.kafka.fetch import cache_folder, fetch_kafka, java
from tests.ops.test_process import until

_FETCH = "from ops.kafka.fetch import fetch_kafka; print(fetch_kafka())"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with nothing in it."""
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture
def java_is_looked_for_again() -> Iterator[None]:
    """java() remembers its answer; these tests change it."""
    java.cache_clear()
    yield
    java.cache_clear()


def start_fetch() -> subprocess.Popen[str]:
    """A process that fetches into the cache."""
    argv = [sys.executable, "-c", _FETCH]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_two_processes_at_once_and_one_killed_before_them_leave_one_whole_folder(
    kafka_jars: Path, empty_cache: Path
) -> None:
    """A killed fetch leaves no visible folder; two later ones share one that equals the first."""
    with start_fetch() as killed:
        assert until(lambda: any(empty_cache.glob(".kafka-*")))
        os.killpg(killed.pid, signal.SIGKILL)
    assert not list(empty_cache.glob("kafka-*"))

    with start_fetch() as first, start_fetch() as second:
        answers = {each.communicate(timeout=300)[0].strip() for each in (first, second)}
    (found,) = answers
    assert {path.name for path in Path(found).iterdir()} == {
        path.name for path in kafka_jars.iterdir()
    }
    assert {path.name for path in empty_cache.iterdir()} == {Path(found).name, ".kafka.lock"}

    before = Path(found).stat().st_mtime_ns
    assert fetch_kafka() == Path(found)
    assert Path(found).stat().st_mtime_ns == before


@pytest.mark.usefixtures("empty_cache", "java_is_looked_for_again")
def test_missing_java_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java the operator is told which package to install."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OperatorNeeded, match=r"Install a Java runtime, 17 or newer"):
        fetch_kafka()


@pytest.mark.usefixtures("java_is_looked_for_again")
def test_missing_maven_names_what_to_install_unless_the_jars_are_there(
    kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven is needed for an empty cache only."""
    (tmp_path / "java").symlink_to(java())
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    java.cache_clear()
    assert fetch_kafka() == kafka_jars
    monkeypatch.setenv("MILLSTREAM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OperatorNeeded, match="Install Maven"):
        fetch_kafka()


@pytest.mark.usefixtures("java_is_looked_for_again")
def test_an_old_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java 11 cannot run Kafka 4: say so before Kafka does."""
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(OperatorNeeded, match=r"is Java 11\. Install"):
        java()
