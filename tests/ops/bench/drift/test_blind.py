"""The blind streams: none of those that the constants were chosen on, and made like them."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.drift import blind, streams


def test_no_blind_stream_is_one_of_the_others() -> None:
    """Neither name nor parameters."""
    changing, still = streams.blind_names()
    assert not {*changing, *still} & {*streams.names(None), *streams.stationary()}
    assert not {*blind.BURSTY.values()} & {*streams.BURSTY.values()}
    assert not {*blind.INDEPENDENT} & {*streams.INDEPENDENT}


@pytest.mark.parametrize("name", ["blind stagger", "blind mixed"])
def test_errors_rise_where_the_concept_changes(name: str) -> None:
    """The model was fitted on the concept before."""
    (piece, *_) = streams.pieces(name, 0, None)
    ((at, width),) = piece.changes
    assert width == 1
    assert piece.errors[at:].mean() > piece.errors[:at].mean() + 0.1


@pytest.mark.parametrize("name", [*blind.BURSTY])
def test_stationary_streams_keep_their_mean(name: str) -> None:
    """By the lengths of what is quiet and of bursts."""
    quiet, burst, calm, long = blind.BURSTY[name]
    wanted = (quiet * calm + burst * long) / (calm + long)
    drawn = [streams.pieces(name, seed, None)[0].errors.mean() for seed in range(40)]
    assert abs(np.mean(drawn) - wanted) < 0.03
