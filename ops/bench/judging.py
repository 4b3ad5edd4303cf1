"""`python -m ops.bench.judging`: how often a challenger that is no better is promoted, and how many
labels a better one needs.

Simulated pairs of models. Errors are a latent normal value below a threshold; its parts are shared
by the two models or a model's own, and white or slow. So both kinds of bursts are made: hard times
for both models, and times at which one of two equal models is the better one.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from scipy.stats import beta

from millstream.judging.paired import Rule, Trace
from millstream.performance.metrics import Floats
from ops.bench.machine import describe, plain

RESULTS = Path(__file__).parent / "results"
NORMAL: Final = NormalDist()
POWER: Final = 0.8
NULL_ROWS: Final = 6_000
FIXED_ROWS: Final = 2_000
BETTER_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of stream. error: the champion's rate. shared: part of the latent variance that the
    models have in common. slow, own_slow: part of the shared and of the own variance that lasts
    `length` rows (the time constant of an AR(1) process)."""

    error: float = 0.2
    shared: float = 0.6
    slow: float = 0.0
    own_slow: float = 0.0
    length: float = 50.0

    def differences(self, rows: int, better: float, random: np.random.Generator) -> Floats:
        """[rows] in {-1, 0, 1}: champion wrong less challenger wrong; the challenger's error is
        lower by `better`."""
        common = self._latent(rows, self.slow, random)
        wrong = []
        for rate in (self.error, self.error - better):
            own = self._latent(rows, self.own_slow, random)
            value = sqrt(self.shared) * common + sqrt(1.0 - self.shared) * own
            wrong.append((value < NORMAL.inv_cdf(rate)).astype(np.float64))
        found: Floats = wrong[0] - wrong[1]
        return found

    def _latent(self, rows: int, slow: float, random: np.random.Generator) -> Floats:
        white = random.standard_normal(rows)
        if not slow:
            return white
        return sqrt(slow) * _slow(rows, self.length, random) + sqrt(1.0 - slow) * white


@dataclass(frozen=True, slots=True)
class Switching:
    """Each model has two error rates and switches between them at geometric times, of its own."""

    quiet: float
    burst: float
    quiet_rows: float
    burst_rows: float
    shared: float = 0.6

    def differences(self, rows: int, better: float, random: np.random.Generator) -> Floats:
        """As `Kind`'s."""
        common, wrong = random.standard_normal(rows), []
        for less in (0.0, better):
            own = random.standard_normal(rows)
            value = sqrt(self.shared) * common + sqrt(1.0 - self.shared) * own
            low, high = (NORMAL.inv_cdf(rate - less) for rate in (self.quiet, self.burst))
            limit = np.where(self._bursts(rows, random), high, low)
            wrong.append((value < limit).astype(np.float64))
        found: Floats = wrong[0] - wrong[1]
        return found

    def _bursts(self, rows: int, random: np.random.Generator) -> Any:
        most = int(4 * rows / (self.quiet_rows + self.burst_rows)) + 40
        lengths = np.empty(2 * most, np.int64)
        lengths[0::2] = random.geometric(1.0 / self.quiet_rows, most)
        lengths[1::2] = random.geometric(1.0 / self.burst_rows, most)
        started = random.random() < self.burst_rows / (self.quiet_rows + self.burst_rows)
        state = np.repeat(np.arange(2 * most) % 2 == 1, lengths)
        first = int(lengths[0]) if started else 0
        found = state[first : first + rows]
        assert len(found) == rows, f"{len(found)} of {rows} rows"
        return found


KINDS: Final[dict[str, Kind | Switching]] = {
    "independent": Kind(),
    "independent, models much alike": Kind(shared=0.9),
    "bursts of both": Kind(slow=0.8, length=50),
    "short bursts of one": Kind(own_slow=0.3, length=20),
    "bursts of both and of one": Kind(slow=0.5, own_slow=0.3, length=100),
    "one fails 40 % for 100 rows": Switching(0.1, 0.4, 600, 100),
    "one fails 50 % for 100 rows": Switching(0.1, 0.5, 600, 100),
    "one fails 35 % for 200 rows": Switching(0.1, 0.35, 800, 200),
}
BETTER: Final = ("independent", "independent, models much alike", "bursts of both",
                 "short bursts of one")  # fmt: skip


def _slow(rows: int, length: float, random: np.random.Generator) -> Floats:
    """[rows] of a stationary AR(1) process of variance 1, as moving sums of 8 time constants."""
    kept = float(np.exp(-1.0 / length))
    span = round(8 * length)
    weights = kept ** np.arange(span)
    weights /= sqrt(float((weights**2).sum()))
    noise = random.standard_normal(rows + span - 1)
    size = 1 << (len(noise) + span - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(noise, size) * np.fft.rfft(weights, size), size)
    return np.asarray(product[span - 1 : span - 1 + rows], np.float64)


def mcnemar_rows(discordant: float, better: float, alpha: float, power: float = POWER) -> int:
    """Rows that McNemar's two-sided test needs to find an accuracy higher by `better` with this
    power, of models that differ on a share `discordant` of the rows (Connor, Biometrics 1987).
    """
    ends = NORMAL.inv_cdf(1 - alpha / 2) * sqrt(discordant)
    ends += NORMAL.inv_cdf(power) * sqrt(discordant - better * better)
    return int(np.ceil((ends / better) ** 2))


def mcnemar_finds(differences: Floats, alpha: float) -> bool:
    """Whether McNemar's test (without continuity correction) finds the challenger better."""
    discordant = float(np.abs(differences).sum())
    limit = NORMAL.inv_cdf(1 - alpha / 2)
    return float(differences.sum()) > limit * sqrt(discordant)


def upper_bound(hits: int, runs: int, confidence: float = 0.95) -> float:
    """The largest rate that gives so few hits with a chance of 1 - confidence (Clopper, Pearson
    1934)."""
    return float(beta.ppf(confidence, hits + 1, runs - hits)) if hits < runs else 1.0


@dataclass(frozen=True, slots=True)
class Null:
    """Equal models. upper: bound of the rate with 95 %. fixed_wrong: how often McNemar's test of
    2,000 rows, looked at once, finds the challenger better; half of alpha is right."""

    kind: str
    alpha: float
    runs: int
    wrong: int
    upper: float
    fixed_wrong: int


@dataclass(frozen=True, slots=True)
class Better:
    """A challenger `points` better. fixed: rows of McNemar's test; fixed_power: its power there, as
    measured. corrected: fixed, times the variance of the sum of so many rows over that of
    independent ones. earlier: share of runs promoted before `corrected`. median, mean, p80: of the
    rows needed."""

    kind: str
    alpha: float
    points: float
    runs: int
    fixed: int
    fixed_power: float
    corrected: int
    median: float
    mean: float
    p80: float
    earlier: float
    found: float


def null(name: str, rule: Rule, runs: int, seed: int) -> Null:
    """How often it is promoted."""
    random, wrong, fixed_wrong = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        differences = KINDS[name].differences(NULL_ROWS, 0.0, random)
        wrong += Trace(differences, rule.margin).crossed(rule) is not None
        fixed_wrong += mcnemar_finds(differences[:FIXED_ROWS], rule.alpha)
    return Null(name, rule.alpha, runs, wrong, upper_bound(wrong, runs), fixed_wrong)


def better(
    name: str, points: float, rule: Rule, runs: int, seed: int, rows_max: int = BETTER_ROWS
) -> Better:
    """How many rows it takes, of at most `rows_max`."""
    kind = KINDS[name]
    random = np.random.default_rng(seed)
    sample = [kind.differences(rows_max, points, random) for _ in range(runs)]
    discordant = float(np.mean([np.abs(one).mean() for one in sample]))
    fixed = mcnemar_rows(discordant, points, rule.alpha)
    power = float(np.mean([mcnemar_finds(one[:fixed], rule.alpha) for one in sample]))
    spread = np.var([one[:fixed].sum() for one in sample]) / (fixed * np.var(np.stack(sample)))
    corrected = round(fixed * max(1.0, float(spread)))
    taken = [Trace(one, rule.margin).crossed(rule) for one in sample]
    rows = np.array([np.inf if each is None else each for each in taken])
    finite = np.minimum(rows, rows_max)
    return Better(
        name,
        rule.alpha,
        points,
        runs,
        fixed,
        power,
        corrected,
        float(np.median(finite)),
        float(finite.mean()),
        float(np.quantile(finite, POWER)),
        float(np.mean(rows < corrected)),
        float(np.mean(np.isfinite(rows))),
    )


def write(nulls: Sequence[Null], betters: Sequence[Better], folder: Path, now: datetime) -> Path:
    """Markdown and JSON, named after the time, beside what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"judging-{now:%Y-%m-%d-%H%M%S}.md"
    machine = describe()
    lines = [
        f"# Judging, {now:%Y-%m-%d %H:%M} UTC",
        "",
        f"{machine.cpu}, {machine.cores} cores, numpy {machine.versions['numpy']}, commit "
        f"{machine.commit}. Nothing here is a time: figures are the same on any machine.",
        "",
        f"Challenger equal to the champion, {NULL_ROWS:,} rows, looked at after every 8th from "
        f"row {Rule().rows_min} on: wrong promotions.",
        "",
        "| stream | alpha | runs | wrong | rate | at most (95 %) | McNemar, once at 2,000 rows |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {n.kind} | {n.alpha:g} | {n.runs:,} | {n.wrong} | {n.wrong / n.runs:.2%} "
            f"| {n.upper:.2%} | {n.fixed_wrong / n.runs:.1%} |"
            for n in nulls
        ),
        "",
        f"Challenger better: labels until it is promoted (at most {BETTER_ROWS:,}), beside "
        f"McNemar's test of a fixed size with {POWER:.0%} power (corrected: for dependent rows).",
        "",
        "| stream | points | alpha | runs | fixed | its power | corrected | median | mean "
        "| 80 % promoted after | earlier than corrected | promoted at all |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {b.kind} | {b.points * 100:g} | {b.alpha:g} | {b.runs} | {b.fixed:,} "
            f"| {b.fixed_power:.0%} | {b.corrected:,} | {b.median:,.0f} | {b.mean:,.0f} "
            f"| {b.p80:,.0f} | {b.earlier:.0%} | {b.found:.0%} |"
            for b in betters
        ),
    ]
    path.write_text(plain("\n".join(lines)) + "\n", "utf-8")
    found = {"nulls": [asdict(n) for n in nulls], "betters": [asdict(b) for b in betters]}
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return path


def main(argv: list[str]) -> int:
    """Run everything; about ten minutes."""
    parser = ArgumentParser(prog="python -m ops.bench.judging", description=__doc__)
    parser.add_argument("--null-runs", type=int, default=2_000)
    parser.add_argument("--better-runs", type=int, default=400)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    nulls = [
        null(name, Rule(alpha), asked.null_runs, seed)
        for alpha in (0.05, 0.01)
        for seed, name in enumerate(KINDS)
    ]
    work: list[Callable[[], Better]] = [
        partial(better, name, points, Rule(alpha), asked.better_runs, 100 + seed)
        for points, alpha in ((0.03, 0.05), (0.03, 0.01), (0.05, 0.05))
        for seed, name in enumerate(BETTER)
    ]
    path = write(nulls, [run() for run in work], asked.results, datetime.now(UTC))
    sys.stdout.write(path.read_text("utf-8"))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
