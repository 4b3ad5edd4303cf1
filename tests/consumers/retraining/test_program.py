"""A retraining on real parts: ClickHouse's rows to a release; the test answers for the scorer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from consumers.alerts.log import Follower, value_of
from consumers.models.registry import open_registry
from consumers.retrainer import Ended
from consumers.retraining.program import run_retrainer
from millstream.alerts.wire import Reader
from millstream.cli.repro import repro
from millstream.models.bundle import Bundle
from millstream.models.passport import require_passport
from millstream.retraining.stages import Attempt, Outcome, Stage, Trigger
from tests.consumers.answers import SECOND_US, START_US
from tests.consumers.retraining.attempts import ended, through_shadow
from tests.consumers.retraining_world import ALONE, BESIDE, CHANGE, Clock, World
from tests.consumers.warehouses import PASSWORD

Make = Callable[..., World]


def retrain(
    world: World, reason: str = "a test", stop: threading.Event | None = None
) -> Attempt | None:
    """As `millstream retrain --once`."""
    return run_retrainer(
        world.stream,
        world.kafka,
        world.registry,
        world.server,
        stop or threading.Event(),
        once=reason,
    )


def test_nothing_better_keeps_the_champion_and_says_so(make: Make) -> None:
    """Then nothing is registered and nothing released."""
    world = make(ALONE)
    world.know(1_900)
    attempt = ended(retrain(world), Outcome.KEPT)
    assert attempt.over is not None and attempt.over.stage is Stage.TRAIN
    assert "no candidate does better" in attempt.over.reason
    assert open_registry(world.stream).versions(world.stream.name) == []
    assert world.timeline().releases == ()


def test_labels_that_are_kept_no_longer_stay_counted(make: Make) -> None:
    """Or a stream that keeps its labels for some days would count no new ones some day, and never
    retrain again."""
    world = make(ALONE)
    world.know(1_900)
    first = ended(retrain(world), Outcome.KEPT)
    assert first.over is not None and first.over.facts["labels"] == 1_900
    world.know(2_000)
    table = f"{world.stream.name}.labelled"
    world.warehouse.command(
        f"ALTER TABLE {table} DELETE WHERE kafka_offset < 1500 SETTINGS mutations_sync = 1"
    )
    again = retrain(world)
    assert again is not None and again.over is not None
    assert again.facts(Stage.COLLECT)["labels"] == again.over.facts["labels"] == 2_000
    assert again.facts(Stage.COLLECT)["rows"] == 500


def test_a_changed_rule_ends_in_a_release_of_a_model_that_knows_it(make: Make) -> None:
    """Fitted behind the change, with a passport, the registry's champion; and the next retraining
    compares with it."""
    world = make(ALONE)
    world.know(CHANGE + 600)
    attempt = ended(retrain(world, "the rule has changed"), Outcome.PROMOTED)
    models = open_registry(world.stream)
    champion = models.alias(world.stream.name, "champion")
    assert champion is not None and champion.version == "retrained-1"
    bundle = Bundle.load(models.fetch(champion, world.stream.beside("fetched")))
    require_passport(bundle, "required")
    window = bundle.card.window
    assert window is not None
    assert window.start.timestamp() * 1e6 >= START_US + (CHANGE - 50) * SECOND_US
    (made,) = world.timeline().releases
    assert (made.champion.digest, made.reason) == (champion.digest, "the rule has changed")
    world.know(3_200)
    again = retrain(world)
    assert again is not None and again.over is not None
    compared = again.over.facts if again.over.stage is Stage.TRAIN else again.facts(Stage.TRAIN)
    assert (
        compared["decisions"][0]["champion"]["name"] == attempt.facts(Stage.TRAIN)["winner"]["name"]
    )


def test_a_retrained_model_can_be_made_again_from_its_passport(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lineage names the rows that it was fitted on, and no others; `millstream repro` comes to
    the same digest, though labels have come since. It decides by the champion's threshold."""
    world = make(ALONE, threshold=0.3)
    world.know(CHANGE + 600)
    attempt = ended(retrain(world), Outcome.PROMOTED)
    world.know(3_000)
    bundle = Bundle.load(world.folder / ".retraining" / world.name / attempt.id)
    passport = require_passport(bundle, "required")
    assert passport is not None and passport.lineage is not None
    lineage, window = passport.lineage, bundle.card.window
    assert window is not None and bundle.card.threshold == 0.3
    ranges = json.loads(str(lineage.recipe["ranges"]))
    assert ranges == attempt.facts(Stage.TRAIN)["winner"]["ranges"]
    assert (lineage.recipe["calibrate"], lineage.recipe["rows"]) == (False, CHANGE + 600)
    assert "choose_share" not in lineage.recipe
    events = [one for one in lineage.offsets if one.topic == world.stream.topic("events")]
    assert [[one.first, one.last] for one in events] == [
        [(first - START_US) // SECOND_US, (last - 1 - START_US) // SECOND_US]
        for first, last in ranges
    ]
    assert sum(one.last - one.first + 1 for one in events) == window.rows
    app = typer.Typer()
    app.command()(repro)
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_USERNAME", "default")
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_PASSWORD", PASSWORD)
    asked = ("retrained-1", "--stream", str(world.stream.path), "--warehouse", world.server.url)
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "the same model" in result.output


def test_bundles_of_attempts_long_over_are_removed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they registered stays where it is."""
    monkeypatch.setattr("consumers.retraining.models.FOLDERS_KEPT", 1)
    world = make(ALONE)
    world.know(CHANGE + 600)
    attempt = ended(retrain(world), Outcome.PROMOTED)
    folder = world.folder / ".retraining" / world.name / attempt.id
    found = []
    for _ in range(2):
        assert retrain(world) is not None
        found.append(folder.exists())
    assert found == [True, False]
    models = open_registry(world.stream)
    champion = models.alias(world.stream.name, "champion")
    assert champion is not None
    assert (
        Bundle.load(models.fetch(champion, world.stream.beside("fetched"))).version == "retrained-1"
    )


def test_a_canary_waits_for_its_labels_though_the_judge_reads_fewer(make: Make) -> None:
    """Shadow, canary and promotion are a release each, asked for once; both decisions are on
    NAME.decisions with their evidence."""
    world = make(BESIDE)
    with world.by_hand() as hand:
        through_shadow(world, hand)
        world.know(CHANGE + 950)
        attempt = hand.until(Stage.CANARY)
        assert attempt.facts(Stage.JUDGE)["rows"] == world.stream.judge.rows_max
        hand.look(1)
        assert world.switched() is not None
        world.know(CHANGE + 1_349)
        assert hand.look().running is Stage.CANARY  # one label is missing
        world.know(CHANGE + 1_350)
        ended(hand.look(4), Outcome.PROMOTED)
    assert [one.id for one in world.timeline().releases] == [
        f"{attempt.id}-{what}" for what in ("shadow", "canary", "promote")
    ]
    follower = Follower(world.kafka, world.stream.topic("decisions"), "test")
    found = [Reader(world.client.schema).fields(value_of(each)) for each in follower.to_end()]
    follower.close()
    said = [(one["verdict"], one["challenger_version"], one["id"]) for one in found]
    assert said == [("promote", "retrained-1", found[0]["id"])] * 2
    assert json.loads(found[-1]["evidence"])["finding"]["rows"] == world.stream.judge.rows_max


def test_what_cannot_be_judged_answers_nobody_any_more(make: Make) -> None:
    """The attempt has failed, and its candidate is let go."""
    world = make(BESIDE)
    with world.by_hand() as hand:
        through_shadow(world, hand)
        world.know(CHANGE + 900)
        world.change("shadows", "scores = [0.2, 0.3, 0.5]")  # more chances than it has labels
        attempt = ended(hand.look(), Outcome.FAILED)
        assert attempt.over is not None and "other labels" in attempt.over.reason
    newest = world.timeline().newest
    assert newest is not None
    assert (newest.id, newest.challenger) == (f"{attempt.id}-reject", None)
    assert newest.champion.means(world.champion)


def test_killed_behind_letting_its_candidate_go_an_attempt_ends_the_same(make: Make) -> None:
    """By the release that says so, whatever the judge would say by now."""
    world = make(BESIDE)
    with world.by_hand() as hand:
        through_shadow(world, hand)
        hand.steps.end(Stage.JUDGE, hand.attempt, Ended(Outcome.FAILED, "judge: it broke"))
    world.know(CHANGE + 950)
    with world.by_hand() as hand:
        attempt = ended(hand.look(), Outcome.FAILED)
        assert attempt.over is not None and attempt.over.reason == "judge: it broke"
    assert [one.id.rpartition("-")[2] for one in world.timeline().releases] == ["shadow", "reject"]


def test_a_candidate_that_is_not_decided_on_in_time_is_given_up(make: Make) -> None:
    """The champion answers alone again."""
    world = make(f"{BESIDE}patience_s = 1_000\n")
    clock = Clock()
    with world.by_hand(clock) as hand:
        through_shadow(world, hand)
        world.know(CHANGE + 650)
        assert hand.look().over is None
        clock.now_us += 1_000 * SECOND_US
        attempt = ended(hand.look(), Outcome.KEPT)
        assert attempt.over is not None and "not decided in time" in attempt.over.reason
    newest = world.timeline().newest
    assert newest is not None and newest.challenger is None


def test_one_that_is_stopped_midway_goes_on_at_the_next_start(make: Make) -> None:
    """Stopped again, it is still the one that is under way; then it ends, and the new one runs."""
    world = make(ALONE)
    world.know(1_500)
    stop = threading.Event()
    stop.set()
    for reason in ("the first", "the second"):
        attempt = retrain(world, reason, stop)
        assert attempt is not None and attempt.over is None
        assert (attempt.number, attempt.reason) == (1, "the first")
    last = ended(retrain(world, "the third"), Outcome.KEPT)
    assert (last.number, last.reason) == (2, "the third")


def test_a_private_time_is_nowhere_asked_for(make: Make) -> None:
    """What is known of when an event happened is when it was published."""
    world = make(f'{ALONE}[privacy]\nprivate = ["at"]\n')
    world.know(1_500, answered=1_620)
    attempt = ended(retrain(world), Outcome.KEPT)
    assert attempt.over is not None
    assert attempt.over.facts["lag"] == 120


def test_a_schedule_of_seconds_alone_begins_a_first_retraining(make: Make) -> None:
    """So many behind the first label."""
    world = make(f"{ALONE}schedule_labels = 0\nschedule_s = 3_600\n")
    world.know(200)
    world.change("labelled", "kafka_time = event_time")
    clock = Clock()
    with world.by_hand(clock) as hand:
        assert not hand.retrainer.look()
        clock.now_us += 7_200 * SECOND_US
        assert hand.retrainer.look()
        assert hand.attempt.trigger is Trigger.SCHEDULE
