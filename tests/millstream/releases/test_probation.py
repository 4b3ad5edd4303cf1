"""A champion on probation: begun, kept, taken back, by releases that the timeline remembers."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.models.reference import ModelReference
from millstream.releases.decide import Wanted, next_release, rollback
from millstream.releases.probation import JUDGE, Move, Said, beside, move_id, moved, probation
from millstream.releases.release import Effective, Kind, Release
from millstream.releases.timeline import Timeline
from tests.millstream.releases.made import model

BASE = model("base")
SAID = Said("because", {"rows": 7}, 5)


class History:
    """Releases one after the other."""

    def __init__(self) -> None:
        self.timeline = Timeline()

    def release(self, of: ModelReference | None = None, name: str = "", **more: Any) -> Release:
        """And it is decided."""
        wanted = Wanted(name or f"id{len(self.timeline.releases)}", of, **more)
        return self._add(next_release(self.timeline, "loans", BASE, wanted))

    def back(self) -> Release:
        """A person goes back."""
        wanted = Wanted(f"id{len(self.timeline.releases)}")
        return self._add(rollback(self.timeline, "loans", BASE, wanted))

    def move(self, move: Move, promotion: Release | None = None) -> Release:
        """The judge decides of the newest champion, or of this one."""
        now = probation(self.timeline, BASE)
        promotion = promotion or (now.promotion if now else None)
        assert promotion is not None
        return self._add(moved(self.timeline, BASE, promotion, move, SAID))

    @property
    def count(self) -> int:
        """Releases so far."""
        return len(self.timeline.releases)

    def _add(self, made: Release) -> Release:
        self.timeline.add(made)
        return made


@pytest.fixture
def history() -> History:
    """Nothing was released."""
    return History()


def test_who_took_nobodys_place_is_on_no_probation(history: History) -> None:
    """Nothing released; the bundle of stream.toml beside a canary; released by its own name; came
    back by a rollback."""
    assert probation(history.timeline, BASE) is None
    history.release(model(2), canary_share=0.1)
    assert probation(history.timeline, BASE) is None
    history.release(BASE)
    assert probation(history.timeline, BASE) is None
    history.release(model(2))
    history.back()
    assert probation(history.timeline, BASE) is None
    assert probation(history.timeline, None) is None


def test_a_new_champion_is_compared_with_the_one_before(history: History) -> None:
    """From the beginning on the one before scores beside it; the promotion stays the promotion."""
    promotion = history.release(model(2))
    now = probation(history.timeline, BASE)
    assert now is not None
    assert (now.promotion, now.champion, now.predecessor) == (promotion, model(2), BASE)
    assert (now.began, now.is_on, now.is_over) == (None, False, False)
    made = history.move(Move.BEGIN)
    assert (made.champion, made.shadows, made.kind) == (model(2), (BASE,), Kind.RELEASE)
    assert (made.number, made.reason, made.decided_by) == (2, "because", JUDGE)
    now = probation(history.timeline, BASE)
    assert now is not None
    assert (now.promotion, now.began, now.is_on) == (promotion, made, True)
    assert beside(history.timeline, BASE) == (BASE,)


@pytest.mark.parametrize(
    ("move", "champion", "kind"),
    [(Move.KEEP, model(2), Kind.RELEASE), (Move.BACK, BASE, Kind.ROLLBACK)],
)
def test_it_ends_one_way_or_the_other(
    history: History, move: Move, champion: ModelReference, kind: Kind
) -> None:
    """Nobody scores beside then; it is over, and is not begun again."""
    promotion = history.release(model(2))
    history.move(Move.BEGIN)
    made = history.move(move)
    assert (made.champion, made.shadows, made.kind) == (champion, (), kind)
    assert made.id == move_id(promotion, move)
    assert beside(history.timeline, BASE) == ()
    for again in Move:
        assert history.move(again, promotion) is made
    assert history.count == 3


def test_moves_come_in_their_order(history: History) -> None:
    """What was not begun is neither kept nor taken back; what was begun is not begun again."""
    promotion = history.release(model(2))
    assert history.move(Move.KEEP) is promotion
    assert history.move(Move.BACK) is promotion
    begun = history.move(Move.BEGIN)
    assert history.move(Move.BEGIN) is begun


def test_who_is_overtaken_moves_nothing(history: History) -> None:
    """A person has released another champion meanwhile: that one is on probation now, against the
    one that was."""
    promotion = history.release(model(2))
    history.move(Move.BEGIN)
    newest = history.release(model(3))
    assert newest.shadows == ()
    assert history.move(Move.BACK, promotion) is newest
    now = probation(history.timeline, BASE)
    assert now is not None
    assert (now.champion, now.predecessor, now.began) == (model(3), model(2), None)


def test_a_challenger_is_tried_meanwhile(history: History) -> None:
    """Its releases leave the one before beside the champion; the end leaves the challenger, but its
    share of the keys goes with the champion that it was tried against."""
    history.release(model(2))
    history.move(Move.BEGIN)
    made = history.release(model(3), canary_share=0.2, shadows=(model(4),))
    assert made.shadows == (model(4), BASE)
    assert history.release(model(3), canary_share=0.3).shadows == (BASE,)
    back = history.move(Move.BACK)
    assert (back.champion, back.challenger, back.canary_share) == (BASE, model(3), 0.0)
    assert (back.kind, back.shadows) == (Kind.ROLLBACK, ())
    assert history.release(model(3)).kind is Kind.PROMOTE


def test_who_is_kept_keeps_its_challenger(history: History) -> None:
    """With its share."""
    history.release(model(2))
    history.move(Move.BEGIN)
    history.release(model(3), canary_share=0.2)
    kept = history.move(Move.KEEP)
    assert (kept.champion, kept.challenger, kept.canary_share) == (model(2), model(3), 0.2)
    assert (kept.kind, kept.shadows) == (Kind.CANARY, ())


def test_who_was_before_may_be_the_challenger(history: History) -> None:
    """Then it is judged as that, and the probation stands still; it goes on behind a rejection."""
    history.release(model(2))
    history.move(Move.BEGIN)
    tried = history.release(BASE, canary_share=0.0)
    assert (tried.challenger, tried.shadows) == (BASE, ())
    assert history.move(Move.BACK) is tried
    assert history.release().shadows == (BASE,)
    assert history.move(Move.BACK).champion == BASE


def test_a_persons_rollback_means_what_it_meant(history: History) -> None:
    """Of a champion on probation: the champion before. With a challenger: the champion without it,
    still on probation."""
    history.release(model(2))
    history.move(Move.BEGIN)
    history.release(model(3), canary_share=0.5)
    first = history.back()
    assert (first.champion, first.challenger, first.shadows) == (model(2), None, (BASE,))
    now = probation(history.timeline, BASE)
    assert now is not None
    assert now.is_on
    second = history.back()
    assert (second.champion, second.shadows) == (BASE, ())


def test_shadows_without_a_probation_are_let_go_as_ever(history: History) -> None:
    """By a release that does not name them, and by a rollback, which leaves the champion."""
    history.release(model(2))
    history.release(shadows=(model(3),))
    assert history.back().champion == model(2)
    history.release(shadows=(model(3),))
    assert history.release(shadows=(model(4),)).shadows == (model(4),)


def test_a_move_is_at_once(history: History) -> None:
    """Whatever the release asked for that it takes the place of."""
    history.release(model(2), effective=Effective(offsets=(9,)))
    assert history.move(Move.BEGIN).effective == Effective()


def test_ids_fit_whatever_the_promotions_is(history: History) -> None:
    """64 characters are the most; two promotions have two ids."""
    names = ["x" * 63 + "1", "x" * 63 + "2", "short"]
    made = {move_id(history.release(model(2), name=name), Move.BACK) for name in names}
    assert len(made) == 3
    assert all(len(one) <= 64 for one in made)
    assert "short-back" in made
