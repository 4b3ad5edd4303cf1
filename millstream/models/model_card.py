"""The model card: for people (MODEL_CARD.md) and programs (model_card.json), from measured facts.

After Mitchell et al., "Model Cards for Model Reporting" (2019), without what nobody measured: that
is listed as not known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from millstream.drift.profile import (
    PROFILE_FILE,
    AnyFeature,
    CategoryFeature,
    NumberFeature,
    Profile,
)
from millstream.models.bundle import Bundle
from millstream.models.card import Feature
from millstream.models.durable import write_whole
from millstream.models.evaluation import Metric
from millstream.models.lineage import Lineage
from millstream.models.passport import Passport

MARKDOWN_FILE = "MODEL_CARD.md"
JSON_FILE = "model_card.json"


def model_card(bundle: Bundle, passport: Passport | None) -> dict[str, Any]:
    """Every fact about a bundle, as JSON has it. Raises BundleInvalid for a damaged profile."""
    card = bundle.card.model_dump(mode="json", exclude_none=True)
    return {
        "model": {key: card[key] for key in _IDENTITY if key in card},
        "features": _features(bundle),
        "training": {key: card[key] for key in ("trained_by", "window") if key in card},
        "metrics_in_the_card": card["metrics"],
        "passport": passport.model_dump(mode="json", exclude_none=True) if passport else None,
        "passed": passport.passed if passport else None,
        "not_known": list(_unknown(bundle, passport)),
    }


def markdown(bundle: Bundle, passport: Passport | None) -> str:
    """The same for people."""
    return "\n".join(_lines(bundle, passport)) + "\n"


def write_model_card(bundle: Bundle, passport: Passport | None) -> None:
    """Both files, beside bundle.toml. Raises OSError."""
    write_whole(bundle.folder / MARKDOWN_FILE, markdown(bundle, passport).encode())
    text = json.dumps(model_card(bundle, passport), indent=1) + "\n"
    write_whole(bundle.folder / JSON_FILE, text.encode())


_IDENTITY = ("name", "version", "digest", "kind", "labels", "positive", "threshold", "created")


def _lines(bundle: Bundle, passport: Passport | None) -> Iterator[str]:
    card = bundle.card
    yield f"# {card.name} {card.version}"
    yield ""
    yield f"- {card.kind}" + (f", labels {', '.join(card.labels)}" if card.labels else "")
    if card.positive is not None:
        yield f"- `{card.positive}` at a probability of {card.threshold:g} and above"
    yield f"- trained by {card.trained_by.library} {card.trained_by.version}"
    yield f"- made {card.created.isoformat()}"
    if card.window is not None:
        start, end = card.window.start.isoformat(), card.window.end.isoformat()
        yield f"- trained on {card.window.rows:,} rows, {start} to {end}"
    yield f"- `{card.digest}`"
    if passport is not None:
        yield from _evaluated(passport)
        yield from _checked(passport)
        yield from _curve(passport)
        yield from _origin(passport.lineage)
    yield from _taken(bundle)
    unknown = list(_unknown(bundle, passport))
    if unknown:
        yield from ("", "## Not known", "")
        yield from (f"- {what}" for what in unknown)


def _evaluated(passport: Passport) -> Iterator[str]:
    found = passport.evaluation
    if found is None:
        return
    yield from ("", "## How good it is", "")
    yield (
        f"On {found.rows:,} held-out rows; {found.confidence:.0%} intervals from {found.resamples} "
        f"resamples of blocks of {found.block} neighbouring rows."
    )
    yield ""
    yield from _table(("measure", "value", "from", "to"), [_cells(each) for each in found.metrics])
    if found.slices:
        yield from ("", "### By slice", "")
        names = [metric.name for metric in found.metrics]
        rows = []
        for part in found.slices:
            ours = {metric.name: metric for metric in part.metrics}
            shown = [_range(ours[name]) if name in ours else "" for name in names]
            rows.append((f"{part.field} = {part.value}", f"{part.rows:,}", *shown))
        yield from _table(("slice", "rows", *names), rows)
    if found.left_out:
        yield from ("", f"{found.left_out} slices have too few rows, or there are too many.")


def _checked(passport: Passport) -> Iterator[str]:
    yield from ("", "## What was checked", "")
    yield (
        f"{passport.issued.isoformat()}, against {passport.reference}, with onnxruntime "
        f"{passport.onnxruntime}."
    )
    yield ""
    rows = [
        (
            check.name,
            f"{check.found:.3g}",
            f"{check.limit:.3g}",
            "passed" if check.passed else "**failed**",
            f"{check.rows:,}" if check.rows else "",
            check.note,
        )
        for check in passport.checks
    ]
    yield from _table(("check", "found", "limit", "", "rows", ""), rows)


def _curve(passport: Passport) -> Iterator[str]:
    if passport.tuning is None:
        return
    on = passport.tuning.machine
    yield from ("", "## How fast it is", "")
    yield f"{on.processor}, {on.cores} cores, onnxruntime {on.onnxruntime}."
    yield ""
    points = passport.tuning.points
    rows = [(p.engine, str(p.threads), f"{p.rows:,}", f"{p.rows_per_s:,.0f}") for p in points]
    yield from _table(("engine", "threads", "batch", "rows/s"), rows)


def _origin(lineage: Lineage | None) -> Iterator[str]:
    if lineage is None:
        return
    yield from ("", "## Where it comes from", "")
    for part in lineage.offsets:
        yield f"- {part.topic} partition {part.partition}, offsets {part.first} to {part.last}"
    if lineage.query is not None:
        yield f"- a query with the result `{lineage.query.result_hash or 'not hashed'}`:"
        yield from ("", *(f"      {line}" for line in lineage.query.text.splitlines()), "")
    for file in lineage.files:
        yield f"- {file.path}, `{file.hash}`" + (f", named by {file.dvc}" if file.dvc else "")
    if lineage.git_commit is not None:
        dirty = " with changes that are not in it" if lineage.dirty else ""
        yield f"- commit `{lineage.git_commit}`{dirty}"
    if lineage.lock is not None:
        yield f"- libraries of {lineage.lock.path}, `{lineage.lock.hash}`"
    for name, value in lineage.recipe.items():
        yield f"- {name} = {value}"


def _taken(bundle: Bundle) -> Iterator[str]:
    yield from ("", "## What it takes", "")
    rows = []
    for found in _features(bundle):
        seen = found.get("training", {})
        span = f"{seen['minimum']:g} to {seen['maximum']:g}" if "minimum" in seen else ""
        if "categories" in seen:
            span = f"{seen['categories']} values"
        rows.append((found["name"], found["type"], found["null"], span))
    yield from _table(("feature", "type", "a null", "in training"), rows)


def _features(bundle: Bundle) -> list[dict[str, Any]]:
    profile = _profile(bundle)
    return [_feature(feature, profile.get(feature.name)) for feature in bundle.card.features]


def _feature(feature: Feature, seen: AnyFeature | None) -> dict[str, Any]:
    null = "becomes NaN" if feature.missing == "nan" else "is refused"
    if feature.missing_value is not None:
        null = f"becomes {feature.missing_value!r}"
    found: dict[str, Any] = {"name": feature.name, "type": feature.type, "null": null}
    if isinstance(seen, NumberFeature) and seen.minimum is not None:
        found["training"] = {"minimum": seen.minimum, "maximum": seen.maximum, "nulls": seen.nulls}
    elif isinstance(seen, CategoryFeature):
        found["training"] = {"categories": len(seen.categories), "nulls": seen.nulls}
    return found


def _profile(bundle: Bundle) -> dict[str, AnyFeature]:
    if not (bundle.folder / PROFILE_FILE).exists():
        return {}
    return {feature.name: feature for feature in Profile.load(bundle.folder).features}


def _unknown(bundle: Bundle, passport: Passport | None) -> Iterator[str]:
    if passport is None:
        yield "whether it answers as it was trained: it has no passport"
        return
    evaluation, lineage = passport.evaluation, passport.lineage
    if evaluation is None:
        yield "how good it is on rows that it was not trained on"
    elif not evaluation.slices:
        yield "whether some slices are served worse than others"
    if passport.tuning is None:
        yield "how fast it is"
    if lineage is None or not lineage.rows_known:
        yield "which rows it was trained on"
    if lineage is None or lineage.git_commit is None:
        yield "which code made it"
    if lineage is None or lineage.lock is None:
        yield "which versions of the libraries made it"
    if not (bundle.folder / PROFILE_FILE).exists():
        yield "what its features looked like in training"


def _cells(metric: Metric) -> tuple[str, ...]:
    return metric.name, f"{metric.value:.4g}", f"{metric.low:.4g}", f"{metric.high:.4g}"


def _range(metric: Metric) -> str:
    return f"{metric.value:.3g} ({metric.low:.3g} to {metric.high:.3g})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(text: str) -> str:
    """One line, and no column of its own: names and values come from data."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
