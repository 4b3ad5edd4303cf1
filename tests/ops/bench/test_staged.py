"""The steps that the bench puts clocks on are those of the program."""

from __future__ import annotations

import importlib
from functools import reduce

import pytest

from ops.bench.staged import STEPS


@pytest.mark.parametrize(("step", "module", "path"), STEPS, ids=[step for step, _, _ in STEPS])
def test_every_step_is_there(step: str, module: str, path: str) -> None:
    """A function that moved would leave its time in the step around it."""
    assert callable(reduce(getattr, path.split("."), importlib.import_module(module))), step
