"""Two bundles side by side: what their cards and passports say, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from millstream.columnar.block import block_of
from millstream.models.bundle import Bundle
from millstream.models.golden import GOLDEN_FILE, read_golden
from millstream.models.passport import Passport, read_passport
from millstream.models.session import Session


@dataclass(frozen=True, slots=True)
class Line:
    """One thing in which they differ; `new` is None for what was measured on both at once."""

    what: str
    old: str
    new: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Its fields."""
        return {"what": self.what, "old": self.old, "new": self.new}


def compared(old: Bundle, new: Bundle) -> list[Line]:
    """Where two bundles differ; empty where they are the same.

    Raises BundleInvalid where a passport or golden rows are damaged.
    """
    lines = [*_cards(old, new)]
    one, two = read_passport(old), read_passport(new)
    lines += _passports(one, two)
    lines += _answers(old, new)
    return lines


def _cards(old: Bundle, new: Bundle) -> Iterator[Line]:
    one, two = old.card.model_dump(mode="json"), new.card.model_dump(mode="json")
    for key in one:
        if key in ("features", "metrics", "created"):
            continue
        if one[key] != two[key]:
            yield Line(key, _text(one[key]), _text(two[key]))
    yield from _mappings("metrics", one["metrics"], two["metrics"])
    before = {feature["name"]: feature for feature in one["features"]}
    after = {feature["name"]: feature for feature in two["features"]}
    yield from _mappings("feature", before, after)
    if set(before) == set(after) and list(before) != list(after):
        yield Line("order of features", ", ".join(before), ", ".join(after))


def _passports(old: Passport | None, new: Passport | None) -> Iterator[Line]:
    if old is None or new is None:
        if (old is None) != (new is None):
            yield Line("passport", *("yes" if each else "none" for each in (old, new)))
        return
    yield from _mappings("check", _checks(old), _checks(new))
    measures = [
        {m.name: f"{m.value:.4g} ({m.low:.4g} to {m.high:.4g})" for m in p.evaluation.metrics}
        if p.evaluation
        else {}
        for p in (old, new)
    ]
    yield from _mappings("measure", *measures)
    origins = [
        p.lineage.model_dump(mode="json", exclude_defaults=True) if p.lineage else {}
        for p in (old, new)
    ]
    yield from _mappings("lineage", *origins)


def _checks(passport: Passport) -> dict[str, Any]:
    return {check.name: str(check) for check in passport.checks}


def _answers(old: Bundle, new: Bundle) -> Iterator[Line]:
    """On the golden rows of both, where features and labels are the same."""
    if old.card.features != new.card.features or old.card.labels != new.card.labels:
        return
    batches = [
        read_golden(bundle.folder, bundle.card)[0].batch
        for bundle in (old, new)
        if (bundle.folder / GOLDEN_FILE).exists()
    ]
    if not batches or old.digest == new.digest:
        return
    rows = block_of(pa.Table.from_batches(batches))
    one, two = _scored(old, rows), _scored(new, rows)
    both = np.isin(one.rows, two.rows), np.isin(two.rows, one.rows)
    off = np.abs(one.scores[both[0]] - two.scores[both[1]])
    yield Line("golden rows answered", f"{len(one.rows):,}", f"{len(two.rows):,}")
    if not off.size:
        return
    yield Line(
        "scores of golden rows", f"differ by up to {off.max():.3g}, {off.mean():.3g} on average"
    )
    if old.card.labels:
        labels = one.label.filter(pa.array(both[0])), two.label.filter(pa.array(both[1]))
        pairs = list(zip(*(part.to_pylist() for part in labels), strict=True))
        flips = sum(a != b for a, b in pairs)
        yield Line("labels of golden rows", f"{flips:,} of {len(pairs):,} flip")


def _scored(bundle: Bundle, rows: pa.RecordBatch) -> Any:
    session = Session(bundle)
    try:
        return session.score(rows)
    finally:
        session.close()


def _mappings(what: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Line]:
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            yield Line(f"{what} {key}", _text(old.get(key)), _text(new.get(key)))


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
