"""[alerts] of stream.toml: what is accepted, and one line for everything that is not."""

from __future__ import annotations

import tomllib

import pytest

from millstream.alerts.alarm import Severity
from millstream.alerts.rules import AlertsTable, BurnRateRule, LagRule
from millstream.errors import StreamInvalid
from millstream.stream import Stream
from millstream.toml import parse
from tests.streams import LOANS

LAG = '[[alerts.rules]]\nkind = "lag"\nname = "slow"\nabove_records = 10\n'
BURN = '[[alerts.rules]]\nkind = "burn_rate"\nname = "slo"\nobjective = 0.999\n'
BOUND = '[[alerts.rules]]\nkind = "threshold"\nname = "t"\nsql = "SELECT 1 AS value"\n'


def read(text: str) -> AlertsTable:
    values = tomllib.loads((LOANS / "stream.toml").read_text("utf-8") + "\n" + text)
    return parse(Stream, values, "stream.toml", StreamInvalid).alerts


def test_a_stream_needs_no_rules() -> None:
    """Nor the table."""
    assert read("").rules == ()
    assert read("").group_wait_s == 10.0


def test_rules_keep_their_order_and_their_kind() -> None:
    """Incidents come by themselves; the others are scheduled."""
    detector = '[[alerts.rules]]\nkind = "detector"\nname = "drift"\nseverity = "page"\n'
    table = read(LAG + detector + BURN + 'indicator = "latency"\n')
    mine = [rule.name for rule in table.rules if rule.name in {"slow", "drift", "slo"}]
    assert mine == ["slow", "drift", "slo"]
    assert "drift" not in [rule.name for rule in table.scheduled()]


def test_a_programs_group_and_topics_follow_from_its_name() -> None:
    """Unless they are said."""
    (lag,) = (rule for rule in read(LAG).rules if rule.name == "slow")
    assert isinstance(lag, LagRule)
    assert (lag.group_of("loans"), lag.read_topics) == ("loans-scorer", ("events",))
    said = LAG + 'program = "mine"\ngroup = "g"\ntopics = ["outcomes"]\n'
    (own,) = (rule for rule in read(said).rules if rule.name == "slow")
    assert isinstance(own, LagRule)
    assert (own.group_of("loans"), own.read_topics) == ("g", ("outcomes",))


def test_the_workbooks_windows_are_the_default() -> None:
    """Each short window is a twelfth of its long one; two of three wake someone."""
    (slo,) = (r for r in read(BURN + 'indicator = "refused"\n').rules if r.name == "slo")
    assert isinstance(slo, BurnRateRule)
    assert [w.long_s / w.short_s for w in slo.windows] == [12, 12, 12]
    assert [w.factor for w in slo.windows] == [14.4, 6, 1]
    assert [w.severity for w in slo.windows] == [Severity.PAGE, Severity.PAGE, Severity.TICKET]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAG.replace("above_records", "above_record"), r"did you mean above_records\?"),
        (LAG + "cooldown_s = 1\n", r"did you mean cool_down_s\?"),
        (LAG.replace('"lag"', '"lagg"'), "'lagg'.*expected tags: .*'lag'"),
        (LAG.replace('"slow"', '"verify_slow"'), "verify_ starts the names"),
        (LAG.replace('"slow"', '"Slow"'), "alerts.rules.0.lag.name"),
        (LAG + 'severity = "wake"\n', "severity"),
        (LAG + 'program = "mine"\n', "topics is missing"),
        (LAG + LAG, "names slow twice"),
        (BOUND, "give one of above and below"),
        (BOUND + "above = 1\nbelow = 2\n", "give one of above and below"),
        (BOUND + "above = 1\nclear = 2\n", "clear is above"),
        (BOUND + "below = 1\nclear = 0\n", "clear is below"),
        (BOUND.replace("SELECT 1", "DROP TABLE x --") + "above = 1\n", "sql is no SELECT"),
        (BURN, "give one of indicator and sql"),
        (BURN.replace("0.999", "0.9") + 'indicator = "latency"\n', "can never be reached"),
        (
            BURN + 'indicator = "latency"\nwindows = [{long = 3}]\n',
            r"unknown key alerts.rules.0.burn_rate.windows.0.long \(did you mean long_s\?\)",
        ),
        ("[alerts]\nwait = 1\n", "unknown key alerts.wait"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    """In one line that names the key, with the nearest where it is misspelt."""
    with pytest.raises(StreamInvalid, match=said) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_the_rules_of_the_manual_are_accepted() -> None:
    """docs/ALERTS.md shows one of each kind."""
    text = (LOANS.parent.parent / "docs" / "ALERTS.md").read_text("utf-8")
    table = read(text.partition("```toml\n")[2].partition("```")[0])
    kinds = {rule.kind for rule in table.rules}
    assert kinds == {"lag", "threshold", "burn_rate", "missing_labels", "detector"}
