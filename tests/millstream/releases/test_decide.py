"""What the next release is, given those before it."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.errors import ContractMismatch
from millstream.models.reference import ModelReference
from millstream.releases.decide import Wanted, next_release, rollback
from millstream.releases.release import Kind, Release
from millstream.releases.timeline import Timeline
from tests.millstream.releases.made import model

BASE = model("base")


class History:
    """Releases one after the other."""

    def __init__(self, base: ModelReference | None = BASE) -> None:
        self._base = base
        self.timeline = Timeline()

    def release(self, of: ModelReference | None = None, **more: Any) -> Release:
        """And it is decided."""
        wanted = Wanted(f"id{len(self.timeline.releases)}", of, **more)
        return self._add(next_release(self.timeline, "loans", self._base, wanted))

    def back(self) -> Release:
        """A rollback is decided."""
        wanted = Wanted(f"id{len(self.timeline.releases)}")
        return self._add(rollback(self.timeline, "loans", self._base, wanted))

    def _add(self, made: Release) -> Release:
        self.timeline.add(made)
        return made


def test_a_canary_leaves_the_champion() -> None:
    """The first one's champion is the bundle of stream.toml."""
    history = History()
    made = history.release(model(2), canary_share=0.1)
    assert (made.number, made.kind, made.champion) == (1, Kind.CANARY, BASE)
    assert (made.challenger, made.canary_share) == (model(2), 0.1)


def test_the_challenger_is_promoted_any_other_is_released() -> None:
    """The kind says which it was; the number goes up."""
    history = History()
    history.release(model(2), canary_share=0.1)
    assert history.release(model(2)).kind is Kind.PROMOTE
    made = history.release(model(3))
    assert (made.number, made.kind, made.challenger) == (3, Kind.RELEASE, None)


def test_shadows_alone_leave_the_champion_and_no_model_has_two_roles() -> None:
    """A shadow that is the champion by now is none."""
    history = History()
    history.release(model(2))
    made = history.release(shadows=(model(2), model(3)))
    assert (made.champion, made.shadows) == (model(2), (model(3),))


def test_a_rollback_goes_back_step_by_step() -> None:
    """A canary first, then champion by champion, to the bundle of stream.toml; then no further."""
    history = History()
    history.release(model(2))
    history.release(model(3))
    history.release(model(4), canary_share=0.5)
    found = [history.back() for _ in range(3)]
    assert [made.champion for made in found] == [model(3), model(2), BASE]
    assert all(made.kind is Kind.ROLLBACK and made.challenger is None for made in found)
    with pytest.raises(ContractMismatch, match="no champion answered"):
        history.back()


def test_a_model_that_was_rolled_back_can_be_released_again() -> None:
    """And taken back again, to what answered before it."""
    history = History()
    history.release(model(2))
    history.release(model(3))
    history.back()
    history.release(model(3))
    assert history.back().champion == model(2)


def test_without_a_champion_there_is_no_release() -> None:
    """Nobody knows the bundle of stream.toml: a canary beside nothing is refused."""
    with pytest.raises(ContractMismatch, match="cannot be read"):
        History(base=None).release(model(2), canary_share=0.1)
    with pytest.raises(ContractMismatch, match="has no release"):
        History().back()
