"""What `millstream bundle make` is given: a model, rows, and the training library's answers.

A model comes as ONNX with the library's scores beside the rows, as LightGBM's text file, or from a
function of the person who trained it. Never as a pickle: reading one runs whatever is in it.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models import graph
from millstream.models.bundle import (
    CARD_BYTES_MAX,
    CARD_FILE,
    MODEL_BYTES_MAX,
    MODEL_FILE,
    Bundle,
    digest_of,
    read_file,
)
from millstream.models.card import Card, Feature, card_of
from millstream.models.evaluation import Evaluation, evaluate
from millstream.models.golden import Golden, RowKind, plain
from millstream.models.hostile import hostile_rows, threshold_rows
from millstream.models.proof import ORDINARY_MAX, spread
from millstream.models.session import Session

KIND = "millstream_kind"
"""Column that says what a row tries; `millstream bundle hostile` writes it."""
SCORE = "score"


def read_rows(file: Path) -> pa.Table:
    """The rows of a .parquet or .csv file. Raises SettingsInvalid."""
    try:
        if file.suffix == ".parquet":
            return pa_parquet.read_table(file)
        if file.suffix == ".csv":
            return pa_csv.read_csv(file)
    except (OSError, pa.ArrowException) as why:
        said = " ".join(str(why).split())[:200]
        raise SettingsInvalid(f"{file} cannot be read: {said}", "Give a whole file") from None
    raise SettingsInvalid(f"{file} ends neither in .parquet nor in .csv", "Give one that does")


def onnx_bundle(
    folder: Path, source: Path, card: Path | None, said: Mapping[str, object]
) -> Bundle:
    """The checked bundle of an ONNX file and a card, or of another bundle's folder; not written.

    said: what replaces the card's own: name, version. Digest and operator sets are the model's;
    `created` is needed in the card or in `said`. Raises BundleInvalid.
    """
    model = source / MODEL_FILE if source.is_dir() else source
    text = card or (source / CARD_FILE if source.is_dir() else None)
    if text is None:
        raise SettingsInvalid(
            f"{source} does not say what its inputs mean", "Give --card: a bundle.toml for it"
        )
    content = read_file(model, MODEL_BYTES_MAX)
    try:
        raw: dict[str, object] = tomllib.loads(read_file(text, CARD_BYTES_MAX).decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as why:
        raise BundleInvalid(f"{text} is not valid TOML: {why}", "Mend that line") from None
    proto = graph.parse(content, model)
    defaults = {"created": said.get("created"), "parity_max_diff": None}
    merged = {**defaults, **raw, **{k: v for k, v in said.items() if k != "created"}}
    merged |= {"digest": digest_of(content), "opset": graph.opset(proto)}
    merged = {key: value for key, value in merged.items() if value is not None}
    return Bundle.check(folder, card_of(merged, text), content)


def fitted(source: str) -> Any:
    """A LightGBM Booster from its text file, or what a function MODULE:FUNCTION returns.

    Raises SettingsInvalid where there is no such thing.
    """
    if source.endswith(".txt"):
        import lightgbm  # noqa: PLC0415 - of the extra train

        try:
            return lightgbm.Booster(model_file=source)
        except lightgbm.basic.LightGBMError as why:
            raise SettingsInvalid(f"{source} is no LightGBM model: {why}", "Save it anew") from None
    module, _, function = source.partition(":")
    if not function:
        raise SettingsInvalid(
            f"{source} is no model",
            "Give an .onnx file, a bundle, LightGBM's .txt, or MODULE:FUNCTION that returns one",
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as why:
        raise SettingsInvalid(f"{source}: {why}", "Name a function that can be imported") from None
    finally:
        sys.path.pop(0)


def features_of(order: Sequence[str], categories: Sequence[str], rows: pa.Table) -> list[Feature]:
    """The features as these rows show them: a number may be missing where it is in one of them."""
    found = []
    for name in order:
        if name not in rows.schema.names:
            raise BundleInvalid(f"the rows have no column {name!r}", "Give all of the features")
        column = rows.column(name)
        if name in categories:
            found.append(Feature(name=name, type="category"))
        elif pa.types.is_boolean(column.type):
            found.append(Feature(name=name, type="boolean"))
        else:
            floating = pa.types.is_floating(column.type)
            holes = column.null_count or (floating and pc.any(pc.is_nan(column)).as_py())
            found.append(Feature(name=name, missing="nan" if holes else "refuse"))
    return found


def answered(card: Card, rows: pa.Table) -> Golden:
    """Rows with the training library's scores: columns `score_LABEL`, or `score` (regression, or
    the positive label's probability). A null or NaN means that the library gives none.

    Raises BundleInvalid where the columns are missing.
    """
    scores = _scores(card, rows)
    kinds: tuple[RowKind, ...] = ("ordinary",) * rows.num_rows
    if KIND in rows.schema.names:
        kinds = tuple(rows.column(KIND).to_pylist())
        unknown = set(kinds) - set(get_args(RowKind))
        if unknown:
            raise BundleInvalid(f"{KIND} says {min(map(str, unknown))}", "Leave it as it was made")
    return Golden(plain(rows, card), kinds, scores, (None,) * rows.num_rows)


def to_answer(bundle: Bundle, rows: pa.Table) -> pa.Table:
    """Ordinary and hostile rows for the training library to score, with what each of them tries."""
    ordinary = spread(plain(rows, bundle.card), ORDINARY_MAX)
    spoilt, kinds = hostile_rows(spread(ordinary, 512), bundle.card)
    parts: list[tuple[pa.RecordBatch, Sequence[str]]] = [
        (ordinary, ["ordinary"] * ordinary.num_rows),
        (spoilt, kinds),
    ]
    trees = threshold_rows(bundle)
    if trees is not None:
        parts.append((trees, ["threshold"] * trees.num_rows))
    whole = pa.Table.from_batches([batch for batch, _ in parts])
    return whole.append_column(KIND, pa.array([kind for _, names in parts for kind in names]))


def evaluated(
    bundle: Bundle, rows: pa.Table, truth: str, slices: Sequence[str]
) -> Evaluation | None:
    """How good the bundle is on held-out rows in the order in which they happened.

    truth: the column with what turned out to be true; rows where it is null are left out, and those
    that the card refuses. None where no row is left. Raises BundleInvalid for a missing column.
    """
    for name in (truth, *slices):
        if name not in rows.schema.names:
            raise BundleInvalid(f"the rows have no column {name!r}", "Name one that they have")
    if KIND in rows.schema.names:
        rows = rows.filter(pc.equal(rows.column(KIND), "ordinary"))
    rows = rows.filter(pc.is_valid(rows.column(truth)))
    session = Session(bundle)
    try:
        scored = session.score(plain(rows, bundle.card))
    finally:
        session.close()
    if not len(scored.rows):
        return None
    kept = rows.take(pa.array(scored.rows))
    columns = {name: kept.column(name).to_pylist() for name in slices}
    return evaluate(bundle.card, kept.column(truth).to_pylist(), scored.scores, columns)


def _scores(card: Card, rows: pa.Table) -> npt.NDArray[np.float64]:
    names = [f"{SCORE}_{label}" for label in card.labels]
    if names and all(name in rows.schema.names for name in names):
        return np.column_stack([_column(rows, name) for name in names])
    if SCORE in rows.schema.names and card.kind != "multiclass":
        one = _column(rows, SCORE)
        if card.kind == "regression":
            return one.reshape(-1, 1)
        both = (1.0 - one, one)
        return np.column_stack(both if card.labels[1] == card.positive else both[::-1])
    wanted = ", ".join(names) if names else SCORE
    raise BundleInvalid(
        f"the rows have no scores of the training library: {wanted}",
        "Write rows with millstream bundle hostile, and add the library's scores as such columns",
    )


def _column(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    column = rows.column(name).combine_chunks().cast(pa.float64())
    found: npt.NDArray[np.float64] = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
    return found
