"""Four verdicts from three facts."""

from __future__ import annotations

import pytest

from millstream.drift.verdict import Verdict, verdict


@pytest.mark.parametrize(
    ("pipe", "inputs", "loss", "wanted"),
    [
        (True, False, False, Verdict.BROKEN_PIPE),
        (True, True, True, Verdict.BROKEN_PIPE),
        (False, True, False, Verdict.HARMLESS_SHIFT),
        (False, True, True, Verdict.HARMFUL_SHIFT),
        (False, False, True, Verdict.CONCEPT_CHANGE),
    ],
)
def test_the_verdict_follows_from_signs_inputs_and_loss(
    pipe: bool, inputs: bool, loss: bool, wanted: Verdict
) -> None:
    """A broken pipe explains the rest."""
    assert verdict(pipe=pipe, inputs=inputs, loss=loss) is wanted


def test_without_a_fact_there_is_no_verdict() -> None:
    """Nobody asks then."""
    with pytest.raises(AssertionError, match="no fact"):
        verdict(pipe=False, inputs=False, loss=False)
