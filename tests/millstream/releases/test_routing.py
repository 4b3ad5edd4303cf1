"""Which keys a canary answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millstream.releases.routing import route

KEYS: list[bytes | None] = [f"A-{n}".encode() for n in range(20_000)]
shares = st.floats(0, 1)


@given(st.lists(st.one_of(st.none(), st.binary()), max_size=20), shares, shares, st.text())
def test_whoever_is_in_stays_in(
    keys: list[bytes | None], one: float, other: float, salt: str
) -> None:
    """As the share grows; and a key is in or out whatever comes beside it."""
    small, large = sorted((one, other))
    assert not (route(keys, small, salt) & ~route(keys, large, salt)).any()
    alone = [bool(route([key], small, salt)[0]) for key in keys]
    assert alone == route(keys, small, salt).tolist()
    assert route(keys, 1.0).all() and not route(keys, 0.0).any()


def test_the_share_is_what_was_asked_for() -> None:
    """Of keys that differ in a digit, too; within four standard deviations."""
    for share in (0.01, 0.1, 0.5, 0.9):
        found = route(KEYS, share, "sha256:a").mean()
        assert abs(found - share) < 4 * (share * (1 - share) / len(KEYS)) ** 0.5


def test_another_challenger_has_other_keys() -> None:
    """Not always the same people try what is new: the choices are independent."""
    one, other = route(KEYS, 0.5, "sha256:a"), route(KEYS, 0.5, "sha256:b")
    assert 0.48 < (one == other).mean() < 0.52
