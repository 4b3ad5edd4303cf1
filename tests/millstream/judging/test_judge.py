"""Verdicts: what is proven, what holds a promotion up, what ends a comparison; and its evidence."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from millstream.alerts.wire import Reader, Writer
from millstream.contracts import contract
from millstream.judging.evidence import Decision, Role, Verdict
from millstream.judging.gates import Terms
from millstream.judging.judge import judge, verdict
from millstream.judging.paired import Rule
from millstream.judging.pairs import Pairs
from millstream.judging.records import DecisionRecord
from millstream.performance.metrics import Measures
from tests.millstream.judging.answered import pairs, reference

BETTER, WORSE, ALIKE = (0.3, 0.15), (0.15, 0.3), (0.2, 0.2)
ROWS = 2_000


def _judge(made: Pairs, role: Role = Role.CHALLENGER, **terms: Any) -> Decision:
    return judge("s", role, reference("1"), reference("2"), made, Terms(**terms))


@pytest.mark.parametrize(
    ("errors", "role", "wanted"),
    [
        (BETTER, Role.CHALLENGER, Verdict.PROMOTE),
        (WORSE, Role.CHALLENGER, Verdict.REJECT),
        (ALIKE, Role.CHALLENGER, Verdict.HOLD),
        (BETTER, Role.PREDECESSOR, Verdict.ROLL_BACK),
        (WORSE, Role.PREDECESSOR, Verdict.KEEP),
        (ALIKE, Role.PREDECESSOR, Verdict.HOLD),
    ],
)
def test_what_is_proven_decides(errors: tuple[float, float], role: Role, wanted: Verdict) -> None:
    """The second model better, worse or alike, as challenger and as predecessor."""
    assert _judge(pairs(ROWS, errors), role).verdict is wanted


@pytest.mark.parametrize(
    ("role", "wanted"), [(Role.CHALLENGER, Verdict.REJECT), (Role.PREDECESSOR, Verdict.KEEP)]
)
def test_at_rows_max_it_ends(role: Role, wanted: Verdict) -> None:
    """What is not proven by then stays as it is."""
    found = _judge(pairs(1_000, ALIKE), role, rule=Rule(rows_min=500, rows_max=1_000))
    assert found.verdict is wanted
    assert "within 1,000 rows" in found.reason


def test_a_gate_holds_a_better_challenger_up_until_the_end() -> None:
    """Hold with the gate's name; at rows_max, reject."""
    made = pairs(ROWS, BETTER)
    slow = Pairs(made.champion, replace(made.challenger, scored_us=made.champion.scored_us + 10**6))
    held = _judge(slow)
    assert (held.verdict, held.failed) == (Verdict.HOLD, ("latency",))
    assert "does not pass: latency" in held.reason
    assert _judge(slow, rule=Rule(rows_max=ROWS)).verdict is Verdict.REJECT


def test_a_gate_does_not_keep_a_bad_champion() -> None:
    """Its predecessor is slower, and does better: back."""
    made = pairs(ROWS, BETTER)
    slow = Pairs(made.champion, replace(made.challenger, scored_us=made.champion.scored_us + 10**6))
    assert _judge(slow, Role.PREDECESSOR).verdict is Verdict.ROLL_BACK


def test_what_was_proven_first_decides_of_a_champion_not_of_a_challenger() -> None:
    """Better first and worse later: a challenger is rejected; a champion goes by the first."""
    made = _judge(pairs(ROWS, BETTER))
    both = replace(made.evidence.finding, better_at=600, worse_at=1_400)
    assert verdict(Role.CHALLENGER, both, made.evidence.gates)[0] is Verdict.REJECT
    assert verdict(Role.PREDECESSOR, both, made.evidence.gates)[0] is Verdict.ROLL_BACK
    turned = replace(both, better_at=1_400, worse_at=600)
    assert verdict(Role.PREDECESSOR, turned, made.evidence.gates)[0] is Verdict.KEEP


@pytest.mark.parametrize("errors", [BETTER, WORSE])
def test_of_a_champion_the_decision_is_the_same_however_late_it_is_looked_at(
    errors: tuple[float, float],
) -> None:
    """It is about the rows up to where it was proven: the same id, whoever makes it again with
    more labels."""
    every = pairs(ROWS, errors)
    whole = _judge(every, Role.PREDECESSOR)
    rows = whole.evidence.finding.rows
    assert 500 <= rows < ROWS
    at = whole.evidence.finding
    assert rows in {at.better_at, at.worse_at}
    earlier = _judge(every.first(rows + 20), Role.PREDECESSOR)
    assert earlier.as_json() == whole.as_json()
    assert DecisionRecord(earlier, 1).id == DecisionRecord(whole, 2).id
    assert _judge(every.first(rows - 1), Role.PREDECESSOR).verdict is Verdict.HOLD


def test_evidence_is_a_table_markdown_and_json() -> None:
    """Each names the verdict, every gate with found, limit and passed, and both models."""
    regions = np.array(["north", "a|b"] * (ROWS // 2), object)
    made = pairs(ROWS, BETTER, slices={"region": regions})
    found = _judge(made)
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert plain["verdict"] == "promote"
    assert plain["champion"]["version"] == "1"
    assert {gate["name"] for gate in plain["gates"]} == {
        "rows", "answers", "quality", "slices", "fairness", "latency", "calibration", "cost",
    }  # fmt: skip
    for text in (found.table(), found.markdown()):
        assert "promote: the challenger is better" in text
        assert "m@1 against m@2" in text
        for gate in found.evidence.gates:
            assert gate.found in text
            assert gate.limit in text
    lines = found.markdown().splitlines()
    assert lines[0].startswith("# s: promote")
    assert any(line.startswith(r"| region=a\|b | 1,000 |") for line in lines)
    assert [line.count(" | ") for line in lines if line.startswith("| rows")] == [3, 2]


def test_a_decision_is_a_record_of_its_contract() -> None:
    """Written and read again; the same decision on the same rows has the same id."""
    found = _judge(pairs(ROWS, BETTER))
    record = DecisionRecord(found, 1_700_000_000_000_000)
    (value,) = Writer("decision", 7).values([record])
    read = Reader(lambda _: contract("decision").text).fields(value)
    wanted = record.fields()
    assert {name: read[name] for name in wanted if name != "decided_at"} == {
        name: value for name, value in wanted.items() if name != "decided_at"
    }
    assert json.loads(read["evidence"])["finding"]["rows"] == ROWS
    assert DecisionRecord(_judge(pairs(ROWS, BETTER)), 5).id == record.id
    assert DecisionRecord(_judge(pairs(ROWS, WORSE)), 5).id != record.id


def test_what_json_lacks_is_text_in_the_record() -> None:
    """An error of values near the largest there are is infinite; the record can be read."""
    found = _judge(pairs(ROWS, BETTER))
    measures = (Measures(ROWS, rmse=math.inf), Measures(ROWS, rmse=1.0))
    endless = replace(found, evidence=replace(found.evidence, measures=measures))
    text = DecisionRecord(endless, 1).fields()["evidence"]
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["measures"]["champion"]["rmse"] == "inf"
