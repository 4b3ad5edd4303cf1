"""Every cheaper variant of a bundle: made, measured, and written where the gate lets it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.bundle import MODEL_FILE, Bundle, digest_of, write_bundle
from millstream.models.proof import Facts, Limits, prove
from millstream.models.session import Session
from millstream.optimise.compare import Bench, Gate, Judged, Measured, compare
from millstream.optimise.distil import STUDENTS, distilled
from millstream.optimise.narrow import FORMS, Form, NoSuchForm, narrowed
from millstream.training.candidate import Candidate
from millstream.training.families import Family
from millstream.training.rows import CannotTrain, Rows

JUDGED_SHARE: Final = 0.3
"""Of the rows, the newest: they judge. The older ones fix scales and teach students."""
CALIBRATION_ROWS: Final = 1_024
ALL: Final[tuple[str, ...]] = (*FORMS, *(f"student_{family}" for family in STUDENTS))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One variant. measured: None where there is no such form, and `note` says why.

    folder: where it was written; None where the gate did not let it in.
    """

    form: str
    note: str = ""
    measured: Measured | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is made: forms out of ALL, below `into`, as version VERSION-FORM."""

    into: Path
    created: datetime
    forms: Sequence[str] = ALL
    gate: Gate = field(default_factory=Gate)
    seed: int = 0


def optimise(
    own: Bundle,
    rows: Rows,
    order: Order,
    bench: Bench,
    watch: Callable[[str], None] | None = None,
) -> list[Outcome]:
    """The variants of `own`, in the order asked for.

    rows: labelled, by event time; those that the bundle refuses are left out. watch: told which one
    is made. A variant that the gate lets in is a bundle with a passport whose reference is `own`.
    Raises BundleInvalid where no row can be scored.
    """
    rows, scores = _answered(own, rows)
    cut = len(rows) - max(1, round(len(rows) * JUDGED_SHARE))
    older = rows.take(slice(0, cut))
    judged = Judged(_batch(own, rows.take(slice(cut, None))), rows.labels[cut:])
    calibration = older.take(slice(-CALIBRATION_ROWS, None))
    made = []
    for form in order.forms:
        if watch is not None:
            watch(form)
        try:
            if form in FORMS:
                variant = _narrow(own, form, calibration, order)
            else:
                family: Family = form.removeprefix("student_")  # type: ignore[assignment]
                variant = _student(
                    own, distilled(older, scores[:cut], family, seed=order.seed), order
                )
            measured = compare(own, variant, form, judged, bench, order.gate)
        except (NoSuchForm, CannotTrain) as why:
            made.append(Outcome(form, why.problem))
            continue
        folder = _written(own, variant, judged, order) if measured.passed else None
        made.append(Outcome(form, measured=measured, folder=folder))
    return made


def _narrow(own: Bundle, form: Form, calibration: Rows, order: Order) -> Bundle:
    session = Session(own)
    try:
        feeds = session.read(_batch(own, calibration)).feeds
    finally:
        session.close()
    model = narrowed(own.model_bytes, form, [feeds])
    if model == own.model_bytes:
        raise NoSuchForm(f"the model is {form} already", "It is as cheap as it gets in this form")
    changes = {
        "version": f"{own.version}-{form}",
        "digest": digest_of(model),
        "opset": graph.opset(graph.parse(model, Path(MODEL_FILE))),
    }
    return _checked(own, model, changes, order)


def _student(own: Bundle, student: Candidate, order: Order) -> Bundle:
    made = student.export()
    changes = {
        "version": f"{own.version}-student-{student.family.replace('_', '-')}",
        "digest": digest_of(made.model),
        "opset": graph.opset(graph.parse(made.model, Path(MODEL_FILE))),
        "input": made.input,
        "output": made.output,
        "trained_by": made.trained_by,
        "window": student.window,
    }
    return _checked(own, made.model, changes, order)


def _checked(own: Bundle, model: bytes, changes: dict[str, Any], order: Order) -> Bundle:
    # What was measured of the model is not true of its variant.
    fresh: dict[str, Any] = {"created": order.created, "parity_max_diff": None, "metrics": {}}
    card = own.card.model_copy(update={**fresh, **changes})
    return Bundle.check(order.into / card.version, card, model)


def _written(own: Bundle, variant: Bundle, judged: Judged, order: Order) -> Path:
    bundle = write_bundle(
        order.into / f"{own.name}-{variant.version}", variant.model_bytes, variant.card
    )
    session = Session(own)

    def original(batch: pa.RecordBatch) -> Any:
        scored = session.score(batch)
        found = np.full((batch.num_rows, own.card.score_columns), np.nan)
        found[scored.rows] = scored.scores
        return found

    facts = Facts(issued=order.created, reference=f"bundle {own.name}@{own.version} {own.digest}")
    limits = Limits(parity=0.1, hostile=1.0, flips=order.gate.flips_max)
    try:
        prove(bundle, judged.batch, original, facts, limits).save(bundle.folder)
    finally:
        session.close()
    return bundle.folder


def _batch(own: Bundle, rows: Rows) -> pa.RecordBatch:
    names = [feature.name for feature in own.card.features]
    batches = rows.columns.select(names).combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], rows.columns.schema)


def _answered(own: Bundle, rows: Rows) -> tuple[Rows, Any]:
    session = Session(own)
    try:
        scored = session.score(_batch(own, rows))
    finally:
        session.close()
    if len(scored.rows) < 2:
        raise BundleInvalid(
            f"{own.folder} answers none of the rows", "Give rows like the stream's events"
        )
    return rows.take(scored.rows), scored.scores
