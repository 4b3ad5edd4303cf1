"""What programs say of themselves, asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.console.health import Healths
from consumers.metrics.server import MetricsServer
from millstream.metrics.health import Health
from millstream.metrics.store import Store
from millstream.settings import MetricsSettings


@pytest.fixture
def health() -> Health:
    """Of a scorer that is starting."""
    return Health(lambda: 0.0, 10.0)


@pytest.fixture
def scorer(tmp_path: Path, health: Health) -> Iterator[MetricsServer]:
    """Its server, which leaves its address in tmp_path."""
    labels = {"stream": "loans", "program": "scorer", "slot": "1"}
    settings = MetricsSettings(port=0, targets=str(tmp_path))
    made = MetricsServer(Store("scorer"), health, labels, settings)
    yield made
    made.close()


def test_a_program_is_shown_as_it_says(
    tmp_path: Path, health: Health, scorer: MetricsServer
) -> None:
    """Not ready with the reason, then ready; those of other streams are not shown."""
    (said,) = Healths(tmp_path, "loans").look()
    assert (said["program"], said["slot"], said["state"]) == ("scorer", "1", "not ready")
    assert "starting" in said["why"]
    health.up()
    health.assigned()
    assert Healths(tmp_path, "loans").look()[0]["state"] == "ready"
    assert Healths(tmp_path, "other").look() == []


def test_a_program_that_was_killed_is_missed(tmp_path: Path) -> None:
    """Its address is still there, and nobody answers at it; what is no address is passed over."""
    entry = {"targets": ["127.0.0.1:9"], "labels": {"instance": "loans/sink/0"}}
    (tmp_path / "a.json").write_text(json.dumps([entry]))
    (tmp_path / "b.json").write_text("[{]")
    (tmp_path / "c.json").write_text('{"targets": 1}')
    (said,) = Healths(tmp_path, "loans").look()
    assert (said["program"], said["state"]) == ("sink", "no answer")


def test_nothing_is_claimed_where_nobody_said_where_they_are(tmp_path: Path) -> None:
    """No folder, or not yet."""
    assert Healths(None, "loans").look() == []
    assert Healths(tmp_path / "later", "loans").look() == []
