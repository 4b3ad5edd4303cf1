"""Measures what a passport says: by the training library once, by the golden rows ever after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa

from millstream import __version__
from millstream.columnar.block import block_of
from millstream.errors import BundleInvalid
from millstream.models import graph
from millstream.models.bundle import MODEL_BYTES_MAX, MODEL_FILE, Bundle, digest_of
from millstream.models.card import Card
from millstream.models.durable import write_whole
from millstream.models.evaluation import Evaluation
from millstream.models.golden import (
    CELLS_MAX,
    HOSTILE,
    Golden,
    RowKind,
    plain,
    read_golden,
)
from millstream.models.hostile import hostile_rows, near_rows, threshold_rows
from millstream.models.independence import independence, schema_map
from millstream.models.lineage import Lineage
from millstream.models.passport import MAKE_AGAIN, PASSPORT_FILE, Check, CheckName, Passport, Place
from millstream.models.session import Scored, Session
from millstream.models.tuner import Effort, Seconds, tune
from millstream.models.tuning import this_machine

Floats = npt.NDArray[np.float64]
Predict = Callable[[pa.RecordBatch], npt.ArrayLike]
"""The training library: plain rows (golden.plain) to scores [n, k] in the order of the card's
labels; regression [n] or [n, 1]. It may raise for rows that it cannot take."""

ORDINARY_MAX: Final = 4_096
ORDINARY_KEPT: Final = 256
BATCH_ROWS: Final = 2_048
OPSETS: Final = {"ai.onnx": (13, 26), "ai.onnx.ml": (1, 5), "com.microsoft": (1, 1)}
"""Of onnxruntime 1.31; below 13, Softmax meant something else."""
CURVE: Final = Effort(seconds=0.02, batches=(1, 8, 64, 256, 1_024), threads=(1,))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a bundle may differ by. parity, hostile: largest difference of scores on ordinary and on
    hostile rows. flips: share of rows with another label. size_bytes: of model.onnx."""

    parity: float = 1e-6
    hostile: float = 1e-6
    flips: float = 0.0
    size_bytes: int = MODEL_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Facts:
    """What only the caller knows. issued: with a time zone. clock: a monotonic one; without it no
    batch curve is measured. reference: whose scores `predict` gives, else the card's library."""

    issued: datetime
    lineage: Lineage | None = None
    evaluation: Evaluation | None = None
    clock: Seconds | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A passport and the rows that it was made by."""

    passport: Passport
    golden: Golden

    def save(self, folder: Path) -> Passport:
        """Write both into the bundle's folder, the passport last. Raises OSError."""
        self.golden.save(folder)
        text = self.passport.model_dump_json(indent=1) + "\n"
        write_whole(folder / PASSPORT_FILE, text.encode())
        return self.passport


def prove(
    bundle: Bundle, rows: Any, predict: Predict, facts: Facts, limits: Limits | None = None
) -> Proof:
    """Compare a bundle with its training library, and measure the rest of its passport.

    rows: an Arrow batch or table with the features, like the stream's. A check that fails is in the
    passport, and `require_passport` then refuses the bundle. Raises BundleInvalid where nothing can
    be compared: no rows, a model that does not run, a library that answers none of the rows.
    """
    ordinary = spread(plain(rows, bundle.card), ORDINARY_MAX)
    limits = limits or Limits()
    return attest(
        bundle, _tried(bundle, ordinary, _asking(predict, bundle.card), limits), facts, limits
    )


def attest(bundle: Bundle, tried: Golden, facts: Facts, limits: Limits | None = None) -> Proof:
    """The same, of rows that the training library has answered already, wherever that was.

    tried: what each row is (kinds) and its scores; `refused` is found out here. Without hostile
    rows the check of them fails. Raises BundleInvalid where the model does not run.
    """
    limits = limits or Limits()
    card = bundle.card
    session = Session(bundle, batch_rows_max=BATCH_ROWS)
    try:
        checks = _checks(session, tried, limits)
        golden = _kept(_answered(session, tried))
    finally:
        session.close()
    proto = graph.parse(bundle.model_bytes, bundle.folder / MODEL_FILE)
    tuning = None
    if facts.clock is not None:
        tuning = tune(bundle, this_machine(), facts.clock, facts.issued, CURVE)
    by = card.trained_by
    passport = Passport(
        name=bundle.name,
        version=bundle.version,
        digest=bundle.digest,
        card_digest=bundle.card_digest,
        golden_digest=digest_of(golden.encoded()),
        issued=facts.issued,
        millstream=__version__,
        onnxruntime=ort.__version__,
        reference=facts.reference or f"{by.library} {by.version}",
        opset=card.opset,
        ir_version=proto.ir_version,
        size_bytes=len(bundle.model_bytes),
        places=_places(card, graph.ports(proto)[0]),
        checks=tuple(checks),
        tuning=tuning,
        lineage=facts.lineage,
        evaluation=facts.evaluation,
    )
    return Proof(passport, golden)


def repeat(bundle: Bundle, passport: Passport) -> list[Check]:
    """The passport's checks again, here and now, from the golden rows: no training library.

    The limits are the passport's; of flips its count, since the rows beside a change of label are
    all golden ones. Raises BundleInvalid where the golden rows are missing or not the passport's.
    """
    golden, content = read_golden(bundle.folder, bundle.card)
    if digest_of(content) != passport.golden_digest:
        raise BundleInvalid(f"{bundle.folder}: golden.json is not that of the passport", MAKE_AGAIN)
    limits = Limits(
        parity=passport.check("parity_ordinary").limit,
        hostile=passport.check("parity_hostile").limit,
        size_bytes=int(passport.check("size").limit),
    )
    session = Session(bundle, batch_rows_max=BATCH_ROWS)
    try:
        checks = _checks(session, golden, limits, passport.check("flips").limit)
        now = _answered(session, golden)
    finally:
        session.close()
    other = sum(one != two for one, two in zip(now.refused, golden.refused, strict=True))
    if other:
        note = f"{other} rows are refused where they were scored, or otherwise than they were"
        checks[1] = Check.of("parity_hostile", np.inf, limits.hostile, checks[1].rows, note)
    return checks


def _checks(
    session: Session, tried: Golden, limits: Limits, flips_max: float | None = None
) -> list[Check]:
    """flips_max: so many rows may have another label; None: the limits' share of them."""
    bundle = session.bundle
    scored = session.score(tried.batch)
    ours = scored.whole(len(tried))
    off, notes = _differences(tried, scored, ours)
    plain_rows = tried.rows_of("ordinary", "near")
    spoilt = tried.rows_of(*HOSTILE)
    size = float(len(bundle.model_bytes))
    return [
        _parity("parity_ordinary", off[plain_rows], limits.parity, ""),
        _parity("parity_hostile", off[spoilt], limits.hostile, notes),
        _flips(session, tried, scored, limits.flips, flips_max),
        independence(bundle, tried.batch.take(pa.array(scored.rows)), BATCH_ROWS),
        schema_map(session, tried.batch),
        _opset_check(bundle),
        Check.of("size", size, float(limits.size_bytes), note=f"{int(size):,} bytes"),
    ]


def _differences(tried: Golden, scored: Scored, ours: Floats) -> tuple[Floats, str]:
    """[n]: how far each row is from the library's score; infinite where only one of them answers.

    Rows that the card refuses (null, NaN, infinite) need no answer. Of extremes only those are
    compared that both answer: a library may refuse what overflows its float32, and a dead letter
    is no wrong score.
    """
    here = np.isfinite(ours).all(axis=1)
    there = np.isfinite(tried.scores).all(axis=1)
    by_card = np.zeros(len(tried), bool)
    by_card[[r.row for r in scored.refusals if r.stage == "validate"]] = True
    extreme = np.array([kind in ("extreme", "threshold") for kind in tried.kinds])
    off = np.zeros(len(tried))
    both = here & there
    distance = np.abs(ours[both] - tried.scores[both])
    if scored.scores.shape[1] == 1:
        distance /= np.maximum(1.0, np.abs(tried.scores[both]))
    off[both] = distance.max(axis=1, initial=0.0)
    alone = (here != there) & ~by_card & ~extreme
    off[alone] = np.inf
    said = [
        (int((both & _hostile(tried)).sum()), "compared"),
        (int((by_card & _hostile(tried)).sum()), "refused by the card"),
        (int((extreme & (here != there) & ~by_card).sum()), "extremes only one side answers"),
        (int(alone.sum()), "answered by one side only"),
    ]
    return off, ", ".join(f"{count} {what}" for count, what in said if count)


def _parity(name: CheckName, off: Floats, limit: float, note: str) -> Check:
    if not len(off):
        return Check.of(name, np.inf, limit, 0, "no such row was tried")
    return Check.of(name, float(off.max()), limit, len(off), note)


def _hostile(tried: Golden) -> npt.NDArray[np.bool_]:
    return np.isin(tried.kinds, HOSTILE)


def _flips(
    session: Session, tried: Golden, scored: Scored, share: float, most: float | None
) -> Check:
    """Labels by the library's scores beside the bundle's own, on every row that both answer."""
    rows = scored.rows
    known = np.isfinite(tried.scores[rows]).all(axis=1)
    if session.bundle.card.kind == "regression":
        return Check.of("flips", 0.0, 0.0, 0, "a value has no label")
    theirs = session.decide(rows[known], tried.scores[rows[known]], ()).label
    ours = scored.label.filter(pa.array(known))
    count = sum(one != two for one, two in zip(ours.to_pylist(), theirs.to_pylist(), strict=True))
    near = len(tried.rows_of("near"))
    note = f"{near} rows beside a change of label" if near else ""
    limit = float(int(share * known.sum())) if most is None else most
    return Check.of("flips", count, limit, int(known.sum()), note)


def _opset_check(bundle: Bundle) -> Check:
    proto = graph.parse(bundle.model_bytes, bundle.folder / MODEL_FILE)
    own = {function.domain for function in proto.functions}
    out, said = 0, []
    for domain, number in bundle.card.opset.items():
        low, high = OPSETS.get(domain, (1, 1))
        said.append(f"{domain} {number} of {low} to {high}")
        out += domain not in own and not low <= number <= high
    return Check.of("opset", out, 0.0, note=", ".join(said))


def _tried(
    bundle: Bundle, ordinary: pa.RecordBatch, score: Callable[[pa.RecordBatch], Floats], of: Limits
) -> Golden:
    """Ordinary, near and hostile rows with the library's scores."""
    card = bundle.card
    if not ordinary.num_rows:
        raise BundleInvalid("there are no rows to compare", "Give rows like the stream's events")
    session = Session(bundle, engine="onnxruntime")
    try:
        parts: list[tuple[pa.RecordBatch, list[RowKind]]] = [
            (ordinary, ["ordinary"] * ordinary.num_rows)
        ]

        def decide(scores: Floats) -> npt.NDArray[Any]:
            label = session.decide(np.arange(len(scores)), np.nan_to_num(scores), ()).label
            return np.array(label.to_pylist())

        near = near_rows(ordinary, card, score, decide, 10 * of.parity)
    finally:
        session.close()
    if near is not None:
        parts.append((near, ["near"] * near.num_rows))
    parts.append(hostile_rows(spread(ordinary, 512), card))
    trees = threshold_rows(bundle)
    if trees is not None:
        parts.append((trees, ["threshold"] * trees.num_rows))
    whole = block_of(pa.Table.from_batches([batch for batch, _ in parts]))
    kinds = tuple(kind for _, names in parts for kind in names)
    scores = score(whole)
    if not np.isfinite(scores[: ordinary.num_rows]).any():
        raise BundleInvalid(
            "the training library answers none of the rows", "Give rows like the stream's events"
        )
    return Golden(whole, kinds, scores, (None,) * len(kinds))


def _asking(predict: Predict, card: Card) -> Callable[[pa.RecordBatch], Floats]:
    """The library's scores, NaN for rows for which it raises: the rest is asked again in halves."""

    def ask(batch: pa.RecordBatch) -> Floats:
        wanted = (batch.num_rows, card.score_columns)
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(predict(batch), np.float64)
        except Exception:  # noqa: BLE001 - libraries fail in any way; a row of theirs then has no answer
            if batch.num_rows <= 1:
                return np.full(wanted, np.nan)
            half = batch.num_rows // 2
            return np.concatenate([ask(batch.slice(0, half)), ask(batch.slice(half))])
        if card.score_columns == 1:
            found = found.reshape(-1, 1)
        if found.shape != wanted:
            raise BundleInvalid(
                f"the training library answers {list(found.shape)} in place of {list(wanted)}",
                "Give scores for each of the card's labels, in its order",
            )
        return found

    return ask


def _answered(session: Session, tried: Golden) -> Golden:
    """With the refusals that the bundle answers them with."""
    refused: list[str | None] = [None] * len(tried)
    for refusal in session.score(tried.batch).refusals:
        refused[refusal.row] = refusal.name
    return replace(tried, refused=tuple(refused))


def _kept(tried: Golden) -> Golden:
    """Some ordinary rows and all others, no more than the file may hold."""
    ordinary, others = tried.rows_of("ordinary"), tried.rows_of("near", *HOSTILE)
    room = max(8, CELLS_MAX // tried.batch.num_columns)
    if len(others) > room // 2:
        others = others[np.linspace(0, len(others) - 1, room // 2).astype(int)]
    kept = min(len(ordinary), ORDINARY_KEPT, room - len(others))
    return tried.take(
        np.concatenate([ordinary[np.linspace(0, len(ordinary) - 1, kept).astype(int)], others])
    )


def spread(batch: pa.RecordBatch, most: int) -> pa.RecordBatch:
    """At most so many rows, evenly from all of them."""
    if batch.num_rows <= most:
        return batch
    return batch.take(pa.array(np.linspace(0, batch.num_rows - 1, most).astype(np.int64)))


def _places(card: Card, inputs: list[graph.Port]) -> tuple[Place, ...]:
    ports = {port.name: port.element_name for port in inputs}
    return tuple(
        Place(
            feature=feature.name,
            type=feature.type,
            missing=feature.missing if feature.missing_value is None else feature.missing_value,
            tensor=card.input.name or feature.name,
            column=number if card.input.name else 0,
            element=ports[card.input.name or feature.name],
        )
        for number, feature in enumerate(card.features)
    )
