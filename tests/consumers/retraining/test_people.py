"""A retraining beside people who release: what they have on trial is waited for, what they decide
stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import lightgbm
import numpy as np
import pandas as pd
import pytest

from consumers.models.registry import open_registry
from consumers.releases.lineups import releasable
from consumers.releases.releasing import release
from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.package import About, make_bundle
from millstream.models.reference import ModelReference
from millstream.releases.decide import Wanted
from millstream.retraining.stages import Outcome, Stage
from millstream.stream import Stream
from tests.consumers.answers import SECOND_US
from tests.consumers.retraining.attempts import MANUAL, ended, through_shadow
from tests.consumers.retraining_world import ALONE, BESIDE, CHANGE, Clock, Hand, World

Make = Callable[..., World]


def by_hand_model(world: World) -> ModelReference:
    """A model that knows the new rule, registered, without a passport."""
    x = pd.DataFrame({"n": world.numbers[CHANGE : CHANGE + 500].astype(float)})
    truth = np.where(world.truth[CHANGE : CHANGE + 500], "yes", "no")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(x, truth)
    about = About("m", "by-hand", datetime(2024, 1, 1, tzinfo=UTC), threshold=0.5)
    folder = world.folder / "by-hand-model"
    make_bundle(folder, model, [Feature(name="n")], x, about)
    return open_registry(world.stream).add(folder, {})


def mine(world: World, model: ModelReference, share: float | None = None) -> None:
    """A person's release."""
    wanted = Wanted(f"mine-{share}", model, share, reason="by hand", decided_by="me")
    models = open_registry(world.stream)
    release(world.stream, world.kafka, world.client, models, wanted)


def through(stage: Stage, hand: Hand) -> None:
    """Look until the stage is done."""
    while stage not in hand.attempt.done:
        assert hand.retrainer.look()


@pytest.mark.parametrize("promotes", [False, True])
def test_who_releases_meanwhile_has_the_last_word(make: Make, promotes: bool) -> None:
    """The attempt ends, and the release that took its place stays as it is."""
    world = make(BESIDE)
    with world.by_hand() as hand:
        through_shadow(world, hand)
        assert world.release is not None and world.release.challenger is not None
        chosen = world.release.challenger if promotes else world.champion
        mine(world, chosen)
        world.switched()
        world.know(CHANGE + 950)
        attempt = ended(hand.look(), Outcome.PROMOTED if promotes else Outcome.KEPT)
        assert attempt.over is not None
        said = "promote, by me) made it" if promotes else "release, by me) took its place"
        assert f"release 2 ({said}" in attempt.over.reason
    assert [one.id for one in world.timeline().releases] == [f"{attempt.id}-shadow", "mine-None"]


def test_who_releases_while_a_promotion_is_prepared_has_the_last_word(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate was still beside the champion when the stage began; its model is fetched and
    looked at once more, which takes a while, and by then a person has let it go."""
    world = make(f"{BESIDE}canary_share = 0\n")
    with world.by_hand() as hand:
        through_shadow(world, hand)
        world.know(CHANGE + 950)
        through(Stage.CANARY, hand)

        def slow(stream: Stream, model: ModelReference) -> Bundle:
            monkeypatch.setattr("consumers.releases.releasing.releasable", releasable)
            mine(world, world.champion)
            return releasable(stream, model)

        monkeypatch.setattr("consumers.releases.releasing.releasable", slow)
        attempt = ended(hand.look(8), Outcome.KEPT)
    assert attempt.over is not None
    assert "release 2 (release, by me) took its place" in attempt.over.reason
    assert [one.id for one in world.timeline().releases] == [f"{attempt.id}-shadow", "mine-None"]


def test_without_a_shadow_too_who_releases_meanwhile_has_the_last_word(make: Make) -> None:
    """The candidate was compared with another champion."""
    world = make(f'[release]\npassport = "none"\n{ALONE}')
    world.know(CHANGE + 600)
    chosen = by_hand_model(world)
    with world.by_hand() as hand:
        hand.retrainer.begin(MANUAL)
        through(Stage.REGISTER, hand)
        mine(world, chosen)
        attempt = ended(hand.look(8), Outcome.KEPT)
    assert attempt.over is not None
    assert attempt.over.reason == "m@by-hand became the champion meanwhile"
    assert [one.id for one in world.timeline().releases] == ["mine-None"]


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["shadow", "canary"])
def test_whom_a_person_has_on_trial_is_waited_for(make: Make, share: float) -> None:
    """The candidate is beside the champion once the trial is over, and not before."""
    world = make(f'[release]\npassport = "none"\n{BESIDE}')
    world.know(CHANGE + 600)
    mine(world, by_hand_model(world), share)
    with world.by_hand() as hand:
        hand.retrainer.begin(MANUAL)
        hand.until(Stage.SHADOW)
        assert hand.look().running is Stage.SHADOW
        mine(world, world.champion)
        assert hand.look().running is Stage.JUDGE
    kinds = [one.id.rpartition("-")[2] for one in world.timeline().releases]
    assert kinds == [str(share), "None", "shadow"]


def test_whom_a_person_has_on_trial_for_too_long_ends_the_attempt(make: Make) -> None:
    """And stays on trial."""
    world = make(f'[release]\npassport = "none"\n{BESIDE}patience_s = 1_000\n')
    world.know(CHANGE + 600)
    mine(world, by_hand_model(world), 0.5)
    clock = Clock()
    with world.by_hand(clock) as hand:
        hand.retrainer.begin(MANUAL)
        hand.until(Stage.SHADOW)
        assert hand.look().over is None
        clock.now_us += 1_000 * SECOND_US
        attempt = ended(hand.look(), Outcome.KEPT)
    assert attempt.over is not None
    said = "release 1 (by me) has m@by-hand on trial, and it was waited for in vain"
    assert attempt.over.reason == said
    assert len(world.timeline().releases) == 1


def test_who_releases_a_challenger_just_before_the_candidate_is_waited_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the candidate is fetched and looked at for its shadow."""
    world = make(f'[release]\npassport = "none"\n{BESIDE}')
    world.know(CHANGE + 600)
    chosen = by_hand_model(world)
    with world.by_hand() as hand:
        hand.retrainer.begin(MANUAL)
        through(Stage.REGISTER, hand)

        def slow(stream: Stream, model: ModelReference) -> Bundle:
            monkeypatch.setattr("consumers.releases.releasing.releasable", releasable)
            mine(world, chosen, 0.5)
            return releasable(stream, model)

        monkeypatch.setattr("consumers.releases.releasing.releasable", slow)
        assert hand.look().running is Stage.SHADOW
        assert len(world.timeline().releases) == 1
        mine(world, world.champion)
        assert hand.look().running is Stage.JUDGE
