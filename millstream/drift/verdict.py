"""What is the matter, from three facts: four verdicts that ask four different people to act."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What an incident is."""

    BROKEN_PIPE = "broken_pipe"  # the data are wrong: ask the producer
    HARMLESS_SHIFT = "harmless_shift"  # inputs moved, loss did not: know it, no more
    HARMFUL_SHIFT = "harmful_shift"  # inputs moved and loss did: the model meets what is new to it
    CONCEPT_CHANGE = "concept_change"  # inputs did not move, loss did: the rule has changed


def verdict(*, pipe: bool, inputs: bool, loss: bool) -> Verdict:
    """The verdict on a cause: are there signs of a broken pipe, did inputs move, did loss rise?

    A broken pipe explains both of the others. Without any of the three there is nothing to judge.

    >>> verdict(pipe=False, inputs=False, loss=True)
    <Verdict.CONCEPT_CHANGE: 'concept_change'>
    """
    assert pipe or inputs or loss, "no fact to judge"
    if pipe:
        return Verdict.BROKEN_PIPE
    if inputs:
        return Verdict.HARMFUL_SHIFT if loss else Verdict.HARMLESS_SHIFT
    return Verdict.CONCEPT_CHANGE
