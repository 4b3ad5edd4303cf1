"""Which version is the champion: told by releases, or seen in what answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millstream.contracts import contract
from millstream.drift.blocks import Block, Rows
from millstream.drift.versions import PREDICTED_BLOCK, Told, Versions
from millstream.drift.watch import Watch
from millstream.records import Records
from millstream.releases.release import Switch
from millstream.releases.wire import Writer
from tests.millstream.drift.watchlogs import START_US, schema_of, stream_in
from tests.millstream.releases.made import model, release

RELEASE = 9


def block(versions: Versions, version: str) -> Block:
    """A block of predictions of this version."""
    count = PREDICTED_BLOCK
    ones = np.ones(count, np.int64)
    rows = Rows(ones, ones * START_US, ones * 0, np.arange(count), bins=ones)
    ((_, made),) = versions.cut("predicted", version, rows)
    return made


def answers(versions: Versions, *names: str) -> list[str]:
    """The versions that are taken for released as these answer in turn."""
    decided = [versions.decide("predicted", name, block(versions, name)) for name in names]
    return [each.released for each in decided if each.released is not None]


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Of the loans stream."""
    return Versions(stream_in(tmp_path))


def test_without_releases_a_new_version_is_taken_for_released(versions: Versions) -> None:
    """But not the first one: nothing was released before it."""
    assert answers(versions, "1", "1", "2", "1", "2") == ["2"]


def test_a_canary_is_not_taken_for_released(versions: Versions) -> None:
    """Once a switch was told, only switches tell; the champion that it repeats is none."""
    assert answers(versions, "1") == []
    assert versions.told(Told(1, "1")) is None
    assert answers(versions, "2", "1", "2") == []
    assert versions.told(Told(2, "2")) == "2"


def test_a_release_is_told_once_and_never_backwards(versions: Versions) -> None:
    """Each partition switches; a partition that is behind tells of an older one."""
    answers(versions, "1")
    assert [versions.told(Told(n, f"{n + 1}")) for n in (1, 1, 2, 1)] == ["2", None, "3", None]


def test_a_restart_remembers_what_was_told(versions: Versions, tmp_path: Path) -> None:
    """The state says which release it was."""
    answers(versions, "1")
    versions.told(Told(3, "2"))
    other = Versions(stream_in(tmp_path))
    other.restore(versions.parts())
    assert answers(other, "5") == [] and other.told(Told(3, "9")) is None


def test_the_watch_reads_switches_off_their_topic(tmp_path: Path) -> None:
    """Their order among the other records is by time, as everything's."""
    stream = stream_in(tmp_path)
    made = Watch(stream, _schema_of, None, releases=True)
    assert made.topics[-1] == "loans.releases"
    canary = release(4, champion=model(2), challenger=model(3), canary_share=0.5)
    values: list[bytes | None] = [
        Writer(RELEASE).value(entry) for entry in (canary, Switch(canary, 1, 10))
    ]
    numbers = np.zeros(2, np.int32)
    batch = Records(
        "loans.releases",
        values,
        [b"a", b"b"],
        numbers,
        np.arange(2),
        np.array([START_US, START_US + 1]),
        {},
    )
    made.take([batch], silent=made.partitions)
    state = made.snapshot().parts["versions"].state
    assert (state["champion"], state["number"]) == ("2", 4)


def _schema_of(schema_id: int) -> str:
    return contract("release").text if schema_id == RELEASE else schema_of(schema_id)
