"""Every cheaper variant of a bundle: made, measured, and written where the gate lets it in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millstream.columnar.block import block_of
from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.bundle import MODEL_FILE, Bundle, digest_of, write_bundle
from millstream.models.card import Window
from millstream.models.lineage import Lineage
from millstream.models.proof import Facts, Limits, prove
from millstream.models.session import Session
from millstream.optimise.compare import Bench, Gate, Judged, Measured, compare
from millstream.optimise.distil import STUDENTS, distilled
from millstream.optimise.narrow import FORMS, Form, NoSuchForm, narrowed
from millstream.performance.metrics import Floats, Ints
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

    folder: where it was written; None where the gate did not let it in. A note beside it says that
    no release takes it, since its passport has a check that failed.
    """

    form: str
    note: str = ""
    measured: Measured | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """What a model answered events with, where it ran: `scores` [n, k] of `rows`, by event time.

    lineage: where they were read.
    """

    rows: Rows
    scores: Floats
    lineage: Lineage | None = None


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
    logged: Logged | None = None,
) -> list[Outcome]:
    """The variants of `own`, in the order asked for.

    rows: labelled, by event time; those that the bundle refuses are left out. logged: what students
    learn, as far as it is older than the rows that judge; None: the scores of the older rows.
    watch: told which one is made. A variant that the gate lets in is a bundle with a passport whose
    reference is `own`. Raises BundleInvalid where no row can be scored, CannotTrain where what was
    logged is not older.
    """
    rows, scores = _answered(own, rows)
    cut = len(rows) - max(1, round(len(rows) * JUDGED_SHARE))
    older = rows.take(slice(0, cut))
    seen = _trained_on(own, rows.times_us[cut:])
    judged = Judged(_batch(own, rows.take(slice(cut, None))), rows.labels[cut:], seen)
    calibration = older.take(slice(-CALIBRATION_ROWS, None))
    lesson = Logged(older, scores[:cut])
    if logged is not None:
        lesson = _before(logged, int(rows.times_us[cut]))
    made = []
    for form in order.forms:
        if watch is not None:
            watch(form)
        lineage = None
        try:
            if form in FORMS:
                variant = _narrow(own, form, calibration, order)
            else:
                family: Family = form.removeprefix("student_")  # type: ignore[assignment]
                student = distilled(lesson.rows, lesson.scores, family, seed=order.seed)
                variant = _student(own, student, order, len(lesson.rows))
                lineage = _lineage(own, student, lesson)
            measured = compare(own, variant, form, judged, bench, order.gate)
        except (NoSuchForm, CannotTrain) as why:
            made.append(Outcome(form, why.problem))
            continue
        note, folder = "", None
        if measured.passed:
            note, folder = _written(own, variant, judged, order, lineage)
        made.append(Outcome(form, note, measured, folder))
    return made


def _trained_on(own: Bundle, times_us: Ints) -> int:
    """Rows no newer than what the model's card says that it was trained on."""
    window = own.card.window
    return 0 if window is None else int((times_us <= round(window.end.timestamp() * 1e6)).sum())


def _before(logged: Logged, until_us: int) -> Logged:
    """What was answered before the rows that judge: these teach nobody."""
    count = int(np.searchsorted(logged.rows.times_us, until_us))
    if not count:
        raise CannotTrain(
            "none of the logged answers is older than the newest labelled rows, which judge",
            "Take more of them, or label newer events",
        )
    return replace(logged, rows=logged.rows.take(slice(0, count)), scores=logged.scores[:count])


def _lineage(own: Bundle, student: Candidate, lesson: Logged) -> Lineage | None:
    """Where a student's lesson is from, with its teacher."""
    if lesson.lineage is None:
        return None
    recipe: dict[str, str | int | float | bool | None] = {
        "family": student.family,
        "parameters": json.dumps(dict(student.parameters), sort_keys=True),
        "seed": student.seed,
        "teacher": f"{own.name}@{own.version} {own.digest}",
        "rows": len(lesson.rows),
    }
    return lesson.lineage.model_copy(update={"recipe": recipe})


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


def _student(own: Bundle, student: Candidate, order: Order, rows: int) -> Bundle:
    """rows: of its lesson."""
    made = student.export()
    changes = {
        "version": f"{own.version}-student-{student.family.replace('_', '-')}",
        "digest": digest_of(made.model),
        "opset": graph.opset(graph.parse(made.model, Path(MODEL_FILE))),
        "input": made.input,
        "output": made.output,
        "trained_by": made.trained_by,
        "window": _window(own, student, rows),
    }
    return _checked(own, made.model, changes, order)


def _window(own: Bundle, student: Candidate, rows: int) -> Window:
    """Its lesson's, which it learnt once for each label; what its teacher learnt is in it too."""
    found, taught = student.window, own.card.window
    if taught is None:
        return found.model_copy(update={"rows": rows})
    start, end = min(found.start, taught.start), max(found.end, taught.end)
    return Window(start=start, end=end, rows=rows)


def _checked(own: Bundle, model: bytes, changes: dict[str, Any], order: Order) -> Bundle:
    # What was measured of the model is not true of its variant.
    fresh: dict[str, Any] = {"created": order.created, "parity_max_diff": None, "metrics": {}}
    card = own.card.model_copy(update={**fresh, **changes})
    return Bundle.check(order.into / card.version, card, model)


def _written(
    own: Bundle, variant: Bundle, judged: Judged, order: Order, lineage: Lineage | None
) -> tuple[str, Path]:
    """A note where no release takes it, and its folder."""
    bundle = write_bundle(
        order.into / f"{own.name}-{variant.version}", variant.model_bytes, variant.card
    )
    session = Session(own)

    def original(batch: pa.RecordBatch) -> Any:
        return session.score(batch).whole(batch.num_rows)

    teacher = f"bundle {own.name}@{own.version} {own.digest}"
    facts = Facts(issued=order.created, lineage=lineage, reference=teacher)
    limits = Limits(parity=0.1, hostile=1.0, flips=order.gate.flips_max)
    try:
        passport = prove(bundle, judged.batch, original, facts, limits).save(bundle.folder)
    finally:
        session.close()
    failure = passport.first_failure
    note = "" if failure is None else f"no release takes it: {failure}"
    return note, bundle.folder


def _batch(own: Bundle, rows: Rows) -> pa.RecordBatch:
    return block_of(rows.columns.select([feature.name for feature in own.card.features]))


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
