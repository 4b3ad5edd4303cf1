"""Incidents: one for each cause, with the right verdict, opened once and resolved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from millstream.drift.findings import InputWindow, LossReading, Moved, Position, Sign
from millstream.drift.incident import Incident, Incidents, incident_id
from tests.millstream.drift.faults import DATA, ELEC2_FAULTS, FAULTS, Fault, elec2, loans, watched

WINDOW = 500
_NONE = np.zeros(0)


def at(offset: int, partition: int = 0) -> Position:
    """An event a second."""
    return Position(1_000_000 * offset, partition, offset)


def window(
    number: int, moved: Iterable[str] = (), signs: Iterable[Sign] = (), partition: int = 0
) -> InputWindow:
    """The window `number` of 500 events; what moved did so at its beginning."""
    first, last = at(number * WINDOW, partition), at((number + 1) * WINDOW - 1, partition)
    return InputWindow(
        first, last, WINDOW, (), _NONE, _NONE, _NONE,
        _NONE.astype(np.int64), _NONE.astype(np.int64),
        tuple(Moved(name, first, 0.3, 0.1, 0.5) for name in moved), tuple(signs),
    )  # fmt: skip


def reading(number: int, rate: float, raised: bool = False, version: str = "1") -> LossReading:
    """The labels of the events of window `number`."""
    first, last = at(number * WINDOW), at((number + 1) * WINDOW - 1)
    return LossReading(first, last, WINDOW, rate, 0.1, raised, model_version=version)


def nulls(number: int, feature: str = "age") -> Sign:
    """A sign that begins with window `number`."""
    return Sign("nulls", feature, at(number * WINDOW), 0.2, 0.0)


def _said(told: list[Incident]) -> list[tuple[str, str]]:
    return [(one.status, str(one.verdict)) for one in told]


def _right(fault: Fault, told: list[Incident]) -> bool:
    """Opened once, resolved once, with the verdict and the features in the end."""
    ends = [(one.verdict, one.features) for one in told if one.status == "resolved"]
    return ends == [(fault.verdict, fault.features)]


@pytest.mark.parametrize("delay", [0, 500, 2_000])
def test_twelve_faults_in_generated_loans_are_named_right(delay: int) -> None:
    """At least 11 with verdict and features, none opened twice, however late the labels come."""
    told = [watched(f, loans(seed), seed, delay) for seed, f in enumerate(FAULTS)]
    opened = [[one.id for one in some if one.status == "opened"] for some in told]
    assert max(map(len, opened)) == 1, opened
    right = [_right(fault, some) for fault, some in zip(FAULTS, told, strict=True)]
    assert sum(right) >= 11, [(f.name, _said(t)) for f, t in zip(FAULTS, told, strict=True)]


@pytest.mark.skipif(
    not (DATA / "elec2").exists(), reason="elec2 is not at ../shared/data: get it to run this test"
)
@pytest.mark.parametrize("delay", [0, 500])
def test_twelve_faults_in_elec2_are_named_right(delay: int) -> None:
    """In a real market with its seasons and its dependence."""
    told = [watched(f, elec2(), seed, delay) for seed, f in enumerate(ELEC2_FAULTS)]
    opened = [[one.id for one in some if one.status == "opened"] for some in told]
    assert max(map(len, opened)) == 1, opened
    right = [_right(fault, some) for fault, some in zip(ELEC2_FAULTS, told, strict=True)]
    assert sum(right) >= 11, [(f.name, _said(t)) for f, t in zip(ELEC2_FAULTS, told, strict=True)]


def test_nothing_is_said_where_nothing_happens() -> None:
    """No fault, no incident."""
    assert watched(Fault("none", ""), loans(77), 77) == []


def test_a_sign_opens_at_once_and_is_resolved_when_it_is_gone_for_three_windows() -> None:
    """A broken pipe waits for no label."""
    incidents = Incidents("s")
    (opened,) = incidents.window(window(0, signs=[nulls(0)]))
    assert (opened.status, opened.verdict, opened.features) == ("opened", "broken_pipe", ("age",))
    assert (opened.cause, opened.first, opened.revision) == ("nulls", at(0), 1)
    assert opened.id == incident_id("s", "nulls", at(0))
    told = [incidents.window(window(number)) for number in range(1, 5)]
    assert [len(some) for some in told] == [0, 0, 1, 0]
    assert (told[2][0].status, told[2][0].id) == ("resolved", opened.id)
    assert incidents.open == ()


def test_a_sign_that_flickers_is_one_incident() -> None:
    """Hysteresis: gone for two windows and back is not gone."""
    incidents = Incidents("s")
    told = []
    for number in range(20):
        told += incidents.window(window(number, signs=[nulls(0)] if number % 3 == 0 else []))
    assert _said(told) == [("opened", "broken_pipe")]


def test_moved_inputs_wait_for_labels() -> None:
    """Whether a shift is harmless only labels say."""
    incidents = Incidents("s")
    for number in range(4):
        assert incidents.window(window(number, ["age"])) == []
    (opened,) = incidents.loss(reading(1, 0.1))
    assert (opened.status, opened.verdict) == ("opened", "harmless_shift")
    assert opened.evidence["labels"] == "500"


def test_moved_inputs_are_told_without_labels_in_the_end() -> None:
    """After the patience; the evidence says that no label was there."""
    incidents = Incidents("s")
    told = [one for number in range(25) for one in incidents.window(window(number, ["age"]))]
    assert _said(told) == [("opened", "harmless_shift")]
    assert told[0].evidence["labels"] == "0"


def test_a_loss_that_rises_later_makes_a_harmless_shift_harmful() -> None:
    """By an update of the same incident."""
    incidents = Incidents("s")
    told = []
    for number in range(10):
        told += incidents.window(window(number, ["age"]))
        told += incidents.loss(reading(number, 0.3 if number >= 4 else 0.1, number >= 5))
    assert _said(told) == [("opened", "harmless_shift"), ("updated", "harmful_shift")]
    assert len({one.id for one in told}) == 1
    assert [one.revision for one in told] == [1, 2]


def test_a_loss_waits_for_the_input_windows_over_its_beginning() -> None:
    """Labels may be quicker than windows; then it is a concept change."""
    incidents = Incidents("s")
    incidents.window(window(0))
    assert incidents.loss(reading(1, 0.4, raised=True)) == []
    told = [incidents.window(window(number)) for number in range(1, 5)]
    assert [_said(some) for some in told] == [[], [], [("opened", "concept_change")], []]


def test_without_an_input_watch_a_loss_opens_at_once() -> None:
    """Nobody will say anything about inputs."""
    assert _said(Incidents("s").loss(reading(1, 0.4, raised=True))) == [
        ("opened", "concept_change")
    ]


def test_a_loss_whose_labels_come_after_the_end_belongs_to_the_closed_incident() -> None:
    """The same cause: it is updated and resolved again, never opened twice."""
    incidents = Incidents("s")
    told = []
    for number in range(10):
        told += incidents.window(window(number, signs=[nulls(2)] if number in (2, 3) else []))
    assert _said(told) == [("opened", "broken_pipe"), ("resolved", "broken_pipe")]
    late = incidents.loss(reading(2, 0.4, raised=True))
    for number in range(3, 12):
        late += incidents.loss(reading(number, 0.1))
    assert [one.status for one in late] == ["resolved"]
    assert {one.id for one in told + late} == {told[0].id}
    assert "loss" in late[0].evidence


def test_another_cause_much_later_is_another_incident() -> None:
    """Both are open, each with its own id and features."""
    incidents = Incidents("s")
    told = []
    for number in range(30):
        signs = [nulls(0)] + ([nulls(20, "pay")] if number >= 20 else [])
        told += incidents.window(window(number, signs=signs))
    assert [(one.status, one.features) for one in told] == [
        ("opened", ("age",)),
        ("opened", ("pay",)),
    ]
    assert len({one.id for one in incidents.open}) == 2


def test_loss_has_to_be_back_half_way_and_stay_there() -> None:
    """A lucky reading resolves nothing."""
    incidents = Incidents("s")
    rates = [0.4, 0.4, 0.4, 0.1, 0.4, 0.4, 0.38, 0.1, 0.1, 0.1, 0.1, 0.1]
    told = []
    for number, rate in enumerate(rates):
        told += [(number, one.status) for one in incidents.loss(reading(number, rate, number < 2))]
    assert told == [(0, "opened"), (9, "resolved")]


def test_alarms_that_go_on_are_one_incident() -> None:
    """A detector that alarms again and again on the new rate says nothing new."""
    incidents = Incidents("s")
    told = [one for n in range(40) for one in incidents.loss(reading(n, 0.4, n % 3 == 0))]
    assert _said(told) == [("opened", "concept_change")]


def test_a_release_ends_what_its_labels_do_not_show_any_more() -> None:
    """And the late labels of the model before it open nothing."""
    incidents = Incidents("s")
    told = incidents.loss(reading(1, 0.4, raised=True))
    told += incidents.released("2", at(1_000).time_us)
    for number in range(2, 6):
        told += incidents.loss(reading(number, 0.4, version="1"))
    assert _said(told) == [("opened", "concept_change")]
    for number in range(6, 9):
        told += incidents.loss(reading(number, 0.12, version="2"))
    assert _said(told)[1:] == [("resolved", "concept_change")]
    assert incidents.loss(reading(60, 0.4, raised=True, version="1")) == []
    again = incidents.loss(reading(80, 0.4, raised=True, version="2"))
    assert _said(again) == [("opened", "concept_change")]


def test_partitions_that_show_the_same_share_an_incident() -> None:
    """It ends when it has ended in each of them."""
    incidents = Incidents("s")
    told = []
    for number in range(12):
        for partition in (0, 1):
            shown = number in (2, 3) or (partition == 1 and number < 7 and number > 1)
            sign = replace(nulls(2), first=at(2 * WINDOW, partition))
            told += incidents.window(
                window(number, signs=[sign] if shown else [], partition=partition)
            )
    assert [(one.status, one.first.partition) for one in told] == [("opened", 0), ("resolved", 0)]
    assert told[1].updated_us == at(10 * WINDOW - 1).time_us


def test_slices_of_the_loss_are_named() -> None:
    """A slice that joins is an update."""
    incidents = Incidents("s")
    told = incidents.loss(replace(reading(0, 0.4, raised=True), slices=("region=b",)))
    told += incidents.loss(replace(reading(1, 0.4, raised=True), slices=("region=a",)))
    assert [one.slices for one in told] == [("region=b",), ("region=a", "region=b")]


def test_restored_at_any_moment_it_says_what_an_unbroken_run_says() -> None:
    """Through JSON, after every call."""
    unbroken, broken = Incidents("s"), Incidents("s")
    told: list[Incident] = []
    again: list[Incident] = []
    rng = np.random.default_rng(6)
    for number in range(160):
        moved = ["age"] if 10 <= number < 20 or 70 <= number < 80 else []
        signs = [nulls(40, "pay")] if 40 <= number < 45 else []
        rate = 0.3 if 70 <= number < 90 or 130 <= number < 140 else 0.1
        told += unbroken.window(window(number, moved, signs))
        again += broken.window(window(number, moved, signs))
        broken = Incidents.from_state("s", json.loads(json.dumps(broken.state())))
        late = max(number - 4, 0)
        one = reading(late, rate + float(rng.normal(0, 0.01)), rate > 0.2)
        told += unbroken.loss(one)
        again += broken.loss(one)
        broken = Incidents.from_state("s", json.loads(json.dumps(broken.state())))
    assert again == told
    assert {str(one.verdict) for one in told} == {
        "harmless_shift",
        "harmful_shift",
        "broken_pipe",
        "concept_change",
    }
