"""Whether groups are treated alike: three gaps, each with an interval.

parity: difference of the shares that got the good label. impact: ratio of those shares (disparate
impact; four fifths in the Uniform Guidelines, 29 CFR 1607.4 D). true_positive: difference of the
shares among those whose outcome was the good label (equal opportunity; Hardt, Price, Srebro 2016).
An alarm holds only where the whole interval is beyond the limit. Intervals take answers as
independent: where one person sends many events they are too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from millstream.performance.metrics import Bools, Classes
from millstream.performance.windows import Names
from millstream.stream import FairnessTable

Kind = Literal["parity", "impact", "true_positive"]
ALL_OTHERS = "all others"


@dataclass(frozen=True, slots=True)
class Gap:
    """One group compared with another; rows: of the group. value, low, high: None where there are
    too few rows, or nothing to divide by."""

    kind: Kind
    field: str
    group: str
    against: str
    rows: int
    value: float | None
    low: float | None
    high: float | None
    limit: float
    alarm: bool

    def as_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `rows`."""

    hits: int
    rows: int

    @property
    def value(self) -> float:
        """0 to 1; 0 of no rows."""
        return self.hits / self.rows if self.rows else 0.0


def fairness(
    groups: Mapping[str, Names],
    favoured: Bools,
    deserved: Bools,
    known: Bools,
    table: FairnessTable,
) -> list[Gap]:
    """Every gap of every group of every field.

    groups: field -> [n] group names. favoured: [n] whether the good label was predicted. deserved:
    [n] whether it was the outcome; counts where `known`: the outcome is there and mature.
    """
    pairs = [
        (field, group, against)
        for field, names in groups.items()
        for group, against in _pairs(names, favoured, table.reference.get(field))
    ]
    limits: dict[Kind, float] = {
        "parity": table.parity_gap_max,
        "impact": table.impact_min,
        "true_positive": table.true_positive_gap_max,
    }
    if not pairs:
        return []
    z = NormalDist().inv_cdf(1 - (1 - table.confidence) / (2 * len(pairs) * len(limits)))
    found = []
    for field, group, against in pairs:
        names = groups[field]
        ours = names == group
        theirs = ~ours if against == ALL_OTHERS else names == against
        good = known & deserved
        for kind, limit in limits.items():
            among = good if kind == "true_positive" else np.ones(len(names), bool)
            one, two = _share(favoured, ours & among), _share(favoured, theirs & among)
            found.append(_gap(kind, (field, group, against), one, two, (limit, z, table.rows_min)))
    return found


def favourable(classes: Classes, table: FairnessTable) -> int | None:
    """The number of the good label: the one that the table names, else the positive one."""
    if table.favourable is None:
        return classes.positive
    named = table.favourable in classes.labels
    return classes.labels.index(table.favourable) if named else None


def difference(one: Share, two: Share, z: float) -> tuple[float, float]:
    """Interval of one - two by Newcombe's hybrid score method (1998, method 10)."""
    (low1, high1), (low2, high2) = wilson(one, z), wilson(two, z)
    gap = one.value - two.value
    below = sqrt((one.value - low1) ** 2 + (high2 - two.value) ** 2)
    above = sqrt((high1 - one.value) ** 2 + (two.value - low2) ** 2)
    return gap - below, gap + above


def ratio(one: Share, two: Share, z: float) -> tuple[float, float]:
    """Interval of one / two on the log scale (Katz et al. 1978), half a hit added to each."""
    a, b = one.hits + 0.5, two.hits + 0.5
    n, m = one.rows + 0.5, two.rows + 0.5
    spread = sqrt(max(0.0, 1 / a - 1 / n + 1 / b - 1 / m))
    middle = log((a / n) / (b / m))
    return exp(middle - z * spread), exp(middle + z * spread)


def wilson(share: Share, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share; 0 to 1 of no rows."""
    n = share.rows
    if not n:
        return 0.0, 1.0
    p, square = share.value, z * z / n
    centre = (p + square / 2) / (1 + square)
    half = z * sqrt(p * (1 - p) / n + square / (4 * n)) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def _pairs(names: Names, favoured: Bools, reference: str | None) -> list[tuple[str, str]]:
    """Who is compared with whom: each group with the reference, else with all others; of two
    groups the one that is favoured less with the other."""
    found = sorted(set(names.tolist()))
    if reference is not None:
        return [(name, reference) for name in found if name != reference]
    if len(found) == 2:
        low, high = sorted(found, key=lambda name: _share(favoured, names == name).value)
        return [(low, high)]
    return [(name, ALL_OTHERS) for name in found] if len(found) > 1 else []


def _share(favoured: Bools, among: Bools) -> Share:
    return Share(int((favoured & among).sum()), int(among.sum()))


def _gap(
    kind: Kind, who: tuple[str, str, str], one: Share, two: Share, rule: tuple[float, float, int]
) -> Gap:
    limit, z, rows_min = rule
    if min(one.rows, two.rows) < rows_min or (kind == "impact" and not two.hits):
        return Gap(kind, *who, one.rows, None, None, None, limit, alarm=False)
    if kind == "impact":
        low, high = ratio(one, two, z)
        return Gap(kind, *who, one.rows, one.value / two.value, low, high, limit, high < limit)
    low, high = difference(one, two, z)
    alarm = low > limit or high < -limit
    return Gap(kind, *who, one.rows, one.value - two.value, low, high, limit, alarm)
