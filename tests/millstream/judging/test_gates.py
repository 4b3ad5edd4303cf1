"""Each gate passes and fails where it should, and says by what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from millstream.judging import gates
from millstream.judging.gates import Terms
from millstream.judging.paired import Rule, paired
from millstream.judging.pairs import Pairs, differences
from millstream.stream import FairnessTable, Stream
from tests.millstream.judging.answered import answers, pairs
from tests.streams import LOANS

REGIONS = np.array(["north", "south"] * 1_000, object)


def test_a_stream_sets_the_terms() -> None:
    """By [judge], [costs], [fairness] and the latency budget."""
    stream = Stream.load(LOANS / "stream.toml")
    terms = Terms.of(stream)
    assert terms.rule == Rule()
    assert terms.latency_budget_ms == stream.serving.latency_budget_ms
    assert terms.fairness == stream.fairness


def test_a_slice_that_is_proven_worse_is_named() -> None:
    """Better in the whole, worse in the south."""
    made = pairs(2_000, (0.3, 0.1), slices={"region": REGIONS})
    south = np.flatnonzero(REGIONS == "south")
    chances = made.challenger.raw[:, 1].copy()
    turned = south[np.random.default_rng(1).random(len(south)) < 0.6]
    chances[turned] = 1 - chances[turned]
    worse = Pairs(made.champion, answers(chances, made.challenger.truth))
    gate, parts = gates.sliced(worse, differences(worse, "error"), Rule())
    assert (gate.passed, gate.found) == (False, "region=south")
    assert {part.slice: part.worse for part in parts} == {
        "region=north": False, "region=south": True,
    }  # fmt: skip
    assert all(part.rows == 1_000 for part in parts)
    gate, _ = gates.sliced(made, differences(made, "error"), Rule())
    assert gate.passed
    bare = pairs(100, (0.2, 0.2))
    assert gates.sliced(bare, differences(bare, "error"), Rule())[0].found == "no slices"


def test_a_gap_that_the_champion_has_not_fails() -> None:
    """The challenger gives the north the good label more often; the champion's own gap, no smaller,
    does not hold a challenger up."""
    truth = np.random.default_rng(0).integers(2, size=2_000)
    north = REGIONS == "north"
    even = answers(np.where(truth == 1, 0.8, 0.2), truth, groups={"region": REGIONS})
    unfair = answers(np.where(north, 0.8, 0.2), truth, groups={"region": REGIONS})
    table = FairnessTable(groups=("region",))
    gate = gates.fair(Pairs(even, unfair), table)
    assert not gate.passed
    assert "parity region=" in gate.found
    assert gates.fair(Pairs(unfair, unfair), table).passed
    assert gates.fair(Pairs(unfair, even), table).passed
    one = answers(np.array([0.8]), np.array([1]), groups={"region": REGIONS[:1]})
    assert gates.fair(Pairs(one, one), table).passed


def test_latency_is_in_budget_or_hardly_above_the_champions() -> None:
    """By the 99th percentile from published to scored."""
    made = pairs(200, (0.2, 0.2), latency_ms=300.0)
    assert gates.quick(made, 250.0, 0.1).passed  # the champion is late too
    for late_us, passed in ((20_000, True), (60_000, False)):
        slow = replace(made.challenger, scored_us=made.champion.scored_us + late_us)
        gate = gates.quick(Pairs(made.champion, slow), 250.0, 0.1)
        assert (gate.passed, gate.bound) == (passed, 330.0)
    assert not gates.quick(pairs(0, (0.2, 0.2)), 250.0, 0.1).passed


def test_confidence_that_does_not_come_true_fails() -> None:
    """The same decisions, said with 99 % where 80 % come true."""
    made = pairs(2_000, (0.2, 0.2))
    sure = answers(np.where(made.champion.raw[:, 1] > 0.5, 0.99, 0.01), made.champion.truth)
    measures = [gates.measured(side, Terms()) for side in (made.champion, sure)]
    assert not gates.calibrated((measures[0], measures[1]), 0.02).passed
    assert gates.calibrated((measures[0], measures[0]), 0.02).passed
    assert gates.calibrated((measures[1], measures[0]), 0.0).passed


def test_fewer_but_dearer_errors_fail() -> None:
    """One missed yes costs ten false ones."""
    truth = np.array([1, 0, 0, 0] * 100)
    careful = answers(np.where(np.arange(400) % 4 < 2, 0.9, 0.1), truth)  # one false yes in four
    bold = answers(np.where(np.arange(400) % 8 == 0, 0.9, 0.1), truth)  # one missed yes in eight
    terms = Terms(false_negative=10.0)
    measures = (gates.measured(careful, terms), gates.measured(bold, terms))
    assert measures[1].accuracy is not None
    assert measures[0].accuracy is not None
    assert measures[1].accuracy > measures[0].accuracy
    assert not gates.cheap(measures, 0.0).passed
    assert gates.cheap((measures[1], measures[0]), 0.0).passed


def test_what_only_the_challenger_refuses_fails() -> None:
    """More than one event in a thousand would become a dead letter."""
    made = pairs(1_000, (0.2, 0.2))
    assert gates.scored(made).passed
    assert gates.scored(replace(made, refused=1)).passed
    assert not gates.scored(replace(made, refused=2)).passed
    # 40 in 100,000, of which a thousand have labels so far
    assert gates.scored(replace(made, refused=40, scored=99_960)).passed
    assert not gates.scored(replace(made, refused=101, scored=99_899)).passed


def test_quality_tells_where_it_was_proven() -> None:
    """And with what evidence."""
    rule = Rule(rows_min=96)
    gate = gates.quality(paired(np.ones(200), rule), rule)
    assert gate.passed
    assert "proven after 96 rows" in gate.found
    assert not gates.quality(paired(np.zeros(200), rule), rule).passed
    assert not gates.rows(95, rule).passed
    assert gates.rows(96, rule).passed
