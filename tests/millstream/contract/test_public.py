"""Which topics are for other teams."""

from __future__ import annotations

from millstream.contract.public import CARRIED, CHANNELS, HEADERS, INTERNAL
from millstream.contracts import contract, topic_table
from millstream.letters import REPLAY_OF, REPLAY_ORIGIN


def test_every_topic_is_either_public_or_internal() -> None:
    """A new one must be one of the two."""
    kinds = [channel.kind for channel in CHANNELS]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) | INTERNAL == set(topic_table())
    assert not set(kinds) & INTERNAL


def test_each_channel_has_its_contract() -> None:
    """As topics.toml names it, where that is a contract."""
    for channel in CHANNELS:
        if channel.subject is not None:
            assert contract(channel.subject).text
            named = topic_table()[channel.kind].value
            assert channel.subject == named or channel.kind == "dead_letters"


def test_headers_are_those_that_records_carry() -> None:
    """By the names in the code."""
    assert {REPLAY_OF, REPLAY_ORIGIN} <= set(HEADERS)
    assert {name for names in CARRIED.values() for name in names} == set(HEADERS)
