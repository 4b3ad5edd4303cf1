"""Tests of consumers/collector.py."""

from __future__ import annotations

import gc
import weakref

import pytest

from consumers.collector import OBJECTS_A_RECORD, rare_collections


class _Ring:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_a_batch_does_not_wake_the_collector() -> None:
    """As many objects as a batch may have are made without a single collection."""
    with rare_collections(1_000):
        before = gc.get_stats()
        held = [[number] for number in range(9 * 1_000)]
        assert gc.get_stats() == before
    assert len(held) == 9_000


def test_what_piles_up_is_still_collected() -> None:
    """A ring that nobody holds is freed once more objects were made than a batch has."""
    with rare_collections(100):
        ring = weakref.ref(_Ring())
        assert ring() is not None
        held = [[number] for number in range(2 * OBJECTS_A_RECORD * 100)]
        assert ring() is None
    assert held


def test_afterwards_everything_is_as_it_was() -> None:
    """Whatever ended it: a test process, or a program that goes on, notices nothing."""
    before = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ValueError, match="a bug"), rare_collections(1_000_000):
        assert gc.get_threshold()[0] == OBJECTS_A_RECORD * 1_000_000
        raise ValueError("a bug")
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
