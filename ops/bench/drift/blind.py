"""Streams that no constant of the monitor was chosen on: other generators, seeds, bursts.

They came after the constants, and stay so: who tunes on them makes new ones. Every stream's seeds
begin at 101; the same fitting and resampling as streams.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from river.datasets import synth

FIRST_SEED: Final = 101
AGRAWAL: Final = (1, 4, 7, 8, 2)
"""Classification functions that the loans do not have."""
INDEPENDENT: Final = (0.03, 0.1, 0.3)
BURSTY: Final = {
    "blind bursty, weak": (0.05, 0.2, 1_000, 50),
    "blind bursty, even": (0.2, 0.5, 250, 250),
    "blind bursty, hard": (0.02, 0.7, 1_500, 40),
    "blind bursty, slow": (0.15, 0.3, 2_000, 1_000),
}
"""As in streams.py: error rate when quiet, in a burst, mean events of quiet, of a burst."""
GENERATED: Final[dict[str, tuple[Callable[[int], Any], int]]] = {
    "blind rbf": (
        lambda k: synth.RandomRBF(
            seed_model=FIRST_SEED + k, seed_sample=FIRST_SEED + k, n_features=8, n_centroids=20
        ),
        4,
    ),
    "blind stagger": (
        lambda k: synth.STAGGER(classification_function=k, seed=FIRST_SEED + k),
        3,
    ),
    "blind led": (
        lambda k: synth.LEDDrift(
            seed=FIRST_SEED, noise_percentage=0.1, irrelevant_features=True,
            n_drift_features=(0, 3, 7)[k],
        ),
        3,
    ),
    "blind mixed": (
        lambda k: synth.Mixed(classification_function=(k + 1) % 2, seed=FIRST_SEED + k),
        4,
    ),
    "blind agrawal": (
        lambda k: synth.Agrawal(
            classification_function=AGRAWAL[k], seed=FIRST_SEED + k, perturbation=0.05
        ),
        5,
    ),
    "blind sine": (
        lambda k: synth.Sine(
            classification_function=(2, 1, 3, 0)[k], seed=FIRST_SEED + k, has_noise=True
        ),
        4,
    ),
    "blind sea": (
        lambda k: synth.SEA(variant=(2, 0, 1, 3)[k], noise=0.2, seed=FIRST_SEED + k),
        4,
    ),
}  # fmt: skip
"""Name -> (a concept's generator, how many there are); an abrupt change every ROWS."""
