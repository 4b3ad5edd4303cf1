"""A release says who has which role; what contradicts itself is no release."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.columnar import arrow_schema
from millstream.contracts import contract
from millstream.errors import ContractMismatch
from millstream.releases.release import Effective, Entry, Failure, Release, Switch, entry_of
from tests.millstream.releases.made import model, release

CANARY = release(
    3, challenger=model(4), canary_share=0.25, shadows=(model(1, "mlp"), model(2, "logit"))
)


@pytest.mark.parametrize(
    "entry",
    [
        CANARY,
        release(1, effective=Effective(offsets=(5, 0)), reason="ü", evidence={"labels": 7}),
        release(2, effective=Effective(time_us=123), decided_by="mira", decided_us=99),
        Switch(CANARY, 2, 812, True, ("2", model(2).digest), "loans-scorer-0", 5),
        Failure(CANARY, "loans-scorer-1", "it does not load", True, 6),
    ],
    ids=lambda entry: entry.key,
)
def test_fields_give_the_record_back(entry: Entry) -> None:
    """What is written by the contract's names is read again as it was."""
    fields = entry.fields()
    assert list(fields) != [] and set(fields) == set(arrow_schema(contract("release").text).names)
    assert entry_of(fields) == entry


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"number": 0}, "numbers begin at 1"),
        ({"id": "a/b"}, "no id"),
        ({"canary_share": 0.5}, "needs a challenger"),
        ({"canary_share": 1.5, "challenger": model(9)}, "goes from 0 to 1"),
        ({"challenger": model(3)}, "two roles"),
        ({"shadows": (model(8), model(8))}, "two roles"),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: dict[str, Any], said: str) -> None:
    """With what is wrong, before anybody reads it."""
    given: dict[str, Any] = {
        "number": 3,
        "id": "r3",
        "stream": "loans",
        "kind": "release",
        "champion": model(3),
    }
    with pytest.raises(ContractMismatch, match=said):
        Release(**given | wrong)


def test_only_a_share_makes_a_challenger_answer() -> None:
    """Without one it is scored beside the champion and answers nothing."""
    assert CANARY.answering == (model(3), model(4))
    assert release(3, challenger=model(4)).answering == (model(3),)


def test_each_record_has_a_key_of_its_own() -> None:
    """So that compaction removes none of them."""
    entries: list[Entry] = [
        CANARY,
        Switch(CANARY, 0, 5),
        Switch(CANARY, 1, 5),
        Failure(CANARY, "a", "x"),
    ]
    assert len({entry.key for entry in entries}) == 4


def test_an_unknown_record_is_none() -> None:
    """A word of a later version is refused, not guessed."""
    with pytest.raises(ValueError, match="not known"):
        entry_of(CANARY.fields() | {"record": "wish"})
