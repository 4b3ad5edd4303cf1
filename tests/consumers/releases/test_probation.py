"""Probations on real parts: releases and alarms on a broker, answers and labels in ClickHouse, a
registry in a folder. Only the scorer is played: its switches and answers are written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr

from consumers.releases import releasing
from consumers.releases.probation import SETTLE_S, tended
from millstream.errors import BundleInvalid
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.releases.decide import Wanted
from millstream.releases.release import Effective, Kind
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from ops.kafka.embedded import EmbeddedBroker
from ops.registry.process import EmbeddedRegistry
from tests.consumers.probations import World
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseSettings]:
    """A server over HTTP, for this file."""
    process, url = serve(tmp_path_factory.mktemp("probation"))
    yield WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three versions of one model, each with a digest of its own."""
    x = pd.DataFrame({"n": np.arange(200.0)})
    found = []
    for version in (1, 2, 3):
        folder = tmp_path_factory.mktemp("bundle") / "b"
        model = lightgbm.LGBMClassifier(n_estimators=version, verbose=-1)
        model.fit(x, np.where(x["n"] >= 100, "yes", "no"))
        about = About("m", str(version), datetime(2024, 1, 1, tzinfo=UTC))
        make_bundle(folder, model, [Feature(name="n")], x, about)
        found.append(folder)
    return found


@pytest.fixture
def world(
    tmp_path: Path,
    server: WarehouseSettings,
    embedded: EmbeddedBroker,
    embedded_registry: EmbeddedRegistry,
    bundles: list[Path],
) -> Iterator[World]:
    """Nothing was released."""
    made = World(tmp_path, server, embedded, embedded_registry.url, bundles)
    yield made
    made.close()


def test_a_worse_champion_is_taken_back_and_says_why(world: World) -> None:
    """Decision, alarm, tag, alias and release, once each; the alarm is over when the champion
    before answers; the version is not released again, but by who says so."""
    world.models.set_alias("m", "champion", "2")
    promotion = world.on_probation(2, 100)
    assert not world.look(), "no labels yet"
    world.answered({1: 0.05, 2: 0.4}, 100)
    assert world.look()
    back = world.newest()
    assert (back.kind, back.champion, back.shadows) == (Kind.ROLLBACK, world.versions[0], ())
    assert (back.id, back.decided_by) == (f"{promotion.id}-back", "judge")
    (decision,) = world.decisions()
    assert (decision["verdict"], decision["role"]) == ("roll_back", "predecessor")
    assert (decision["champion_version"], decision["challenger_version"]) == ("2", "1")
    assert decision["markdown"].startswith(f"# {world.stream.name}: roll back")
    assert back.evidence["decision"] == decision["id"]
    assert back.reason == decision["reason"]
    (alarm,) = world.alarms()
    assert (alarm.rule, alarm.firing, alarm.revision) == ("champion_rolled_back", True, 1)
    assert alarm.evidence["decision"] == decision["id"]
    assert decision["id"] in world.tag(2)
    assert world.models.alias("m", "champion") == world.versions[0]
    assert not world.look(), "it answers still"
    world.switched(900)
    assert world.look()
    assert [one.firing for one in world.alarms()] == [True, False]
    assert not world.look()
    with pytest.raises(BundleInvalid, match="was rolled back"):
        world.release(2)
    with pytest.raises(BundleInvalid, match="was rolled back"):
        world.release(2, canary_share=0.1)
    assert world.release(2, canary_share=0.0).challenger == world.versions[1]
    wanted = Wanted("all-the-same", world.versions[1])
    releasing.release(world.stream, world.kafka, world.registry, world.models, wanted, again=True)
    assert world.newest().champion == world.versions[1]
    assert world.tag(2) == ""


def test_a_better_champion_is_kept(world: World) -> None:
    """The decision says so, the one before is let go, nothing alarms, and it is over."""
    promotion = world.on_probation(2, 100)
    world.answered({1: 0.4, 2: 0.05}, 100)
    assert world.look()
    kept = world.newest()
    assert (kept.id, kept.champion, kept.shadows) == (
        f"{promotion.id}-keep",
        world.versions[1],
        (),
    )
    (decision,) = world.decisions()
    assert decision["verdict"] == "keep"
    assert world.alarms() == []
    assert world.tag(2) == ""
    world.switched(800)
    assert not world.look()


def test_who_is_no_worse_is_kept_at_the_end_of_its_time(world: World) -> None:
    """Neither was proven: the one before scored beside it for long enough."""
    world.on_probation(2, 100)
    world.answered({1: 0.2, 2: 0.2}, 100)
    assert not world.look()
    world.now_us += 3_601 * 1_000_000
    assert world.look()
    (decision,) = world.decisions()
    assert decision["verdict"] == "keep"
    assert decision["reason"] == "not proven worse than its predecessor in its time of 3,600 s"
    assert world.newest().shadows == ()


def test_a_probation_in_which_nothing_happens_ends_too(world: World) -> None:
    """No partition has gone over to the comparison: there is nothing to decide by."""
    world.release(2)
    world.now_us += round((SETTLE_S + 1) * 1e6)  # no event comes, so no partition switches
    assert world.look()
    assert world.newest().shadows == (world.versions[0],)
    world.now_us += 3_601 * 1_000_000
    assert world.look()
    assert (world.newest().champion, world.newest().shadows) == (world.versions[1], ())
    assert world.decisions() == []


def test_a_release_that_waits_is_left_alone(world: World) -> None:
    """The comparison would begin at once, and the new champion with it: it begins behind."""
    world.release(2, effective=Effective(offsets=(5_000,)))
    world.now_us += round((SETTLE_S + 1) * 1e6)
    assert not world.look()
    world.switched(5_000)
    assert world.look()


def test_an_old_champion_is_not_put_on_probation(world: World) -> None:
    """A program that is started for the first time finds one that has long shown what it is."""
    world.release(2)
    world.switched(100)
    world.now_us += 3_601 * 1_000_000
    world.restart()
    assert not world.look()


def test_started_again_at_any_time_it_comes_to_the_same(world: World) -> None:
    """Nothing is told twice, the alarm that fires is resolved, and the second bad champion is taken
    back as the first was."""
    world.on_probation(2, 100)
    world.restart()
    assert not world.look()
    world.answered({1: 0.05, 2: 0.4}, 100)
    world.restart()
    assert world.look()
    world.restart()
    assert not world.look()
    world.switched(900)
    world.restart()
    assert world.look()
    world.restart()
    assert not world.look()
    assert [one.revision for one in world.alarms()] == [1, 2]
    assert len(world.decisions()) == 1
    world.on_probation(3, 1_000)
    world.answered({1: 0.05, 3: 0.4}, 1_000, seed=5)
    assert world.look()
    assert world.newest().champion == world.versions[0]
    assert [one["champion_version"] for one in world.decisions()] == ["2", "3"]


def test_a_person_may_be_quicker(world: World) -> None:
    """Who has gone back, or on, since leaves nothing to be taken back."""
    world.on_probation(2, 100)
    world.answered({1: 0.05, 2: 0.4}, 100)
    wanted = Wanted("a-person", decided_us=world.now_us)
    releasing.roll_back(world.stream, world.kafka, world.registry, world.models, wanted)
    assert not world.look()
    assert (world.newest().id, world.decisions()) == ("a-person", [])


def test_what_fails_is_tried_again_later(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A bundle that cannot be read does not end the program; it says what it waits for."""
    world.on_probation(2, 100)
    world.answered({1: 0.05, 2: 0.4}, 100)
    hidden = world.stream.beside("models")
    hidden.rename(hidden.with_name("away"))
    for cached in world.stream.beside(world.stream.release.cache).glob("*"):
        cached.rename(world.stream.beside(f"cached-{cached.name}"))
    world.probations.tend()
    assert "the new champion is not judged" in caplog.text
    hidden.with_name("away").rename(hidden)
    world.probations.tend()
    assert world.newest().champion == world.versions[1], "it is not time yet"
    world.now_us += 31 * 1_000_000
    world.probations.tend()
    assert world.newest().champion == world.versions[0]


def test_a_clock_that_is_put_back_does_not_end_the_looking(world: World) -> None:
    """It is looked again at once, not when the clock is where it was."""
    world.on_probation(2, 100)
    world.probations.tend()
    world.answered({1: 0.05, 2: 0.4}, 100)
    world.now_us -= 20 * 1_000_000
    world.probations.tend()
    assert world.newest().champion == world.versions[0]


def test_switched_off_it_does_nothing(world: World) -> None:
    """[judge] probation = false."""
    text = world.stream.path.read_text().replace("probation_s = 3600", "probation = false")
    world.stream.path.write_text(text)
    stream = Stream.load(world.stream.path)
    world.release(2)
    world.switched(100)
    with tended(stream, world.kafka, world.registry, world.warehouse) as tend:
        tend()
    assert world.newest().shadows == ()
