"""`millstream bundle make` and `hostile`: a model becomes a bundle with a passport."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    import pyarrow as pa

    from millstream.models.bundle import Bundle
    from millstream.models.lineage import DataFile, Lineage
    from millstream.models.passport import Passport
    from millstream.models.proof import Facts, Limits


@dataclass(frozen=True, slots=True)
class _About:
    """What the options say about the model."""

    card: Path | None
    stream: Path | None
    name: str | None
    version: str | None
    labels: tuple[str, ...] | None
    positive: str | None
    threshold: float | None


@dataclass(frozen=True, slots=True)
class _Measured:
    """What the options say that is to be measured and written down."""

    truth: str | None
    slices: tuple[str, ...]
    lineage: Lineage
    curve: bool


def make(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    model: Annotated[
        str,
        typer.Argument(
            help="An .onnx file, a bundle, LightGBM's .txt, or MODULE:FUNCTION returning a model."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The new bundle's folder.")],
    rows: Annotated[Path, typer.Option(help="Held-out rows, .parquet or .csv, in order of time.")],
    card: Annotated[
        Path | None, typer.Option(help="With .onnx: a bundle.toml; digest and opset are filled in.")
    ] = None,
    stream: Annotated[
        Path | None, typer.Option(help="stream.toml, whose features and order the model takes.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Else the card's, or the stream's.")] = None,
    version: Annotated[str | None, typer.Option(help="Else the card's, or 1.")] = None,
    labels: Annotated[str | None, typer.Option(help="a,b: in the order of the scores.")] = None,
    positive: Annotated[str | None, typer.Option(help="Else the second label.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Else 0.5.")] = None,
    truth: Annotated[
        str | None, typer.Option(help="Column with what turned out true: measures how good it is.")
    ] = None,
    slices: Annotated[
        list[str] | None, typer.Option("--slice", help="A column by which that is told apart.")
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="The training rows: hashed, and profile.json made of them.")
    ] = None,
    lock: Annotated[Path | None, typer.Option(help="The file that pins the libraries.")] = None,
    parity_max: Annotated[
        float, typer.Option(min=0, max=0.1, help="Largest difference from the library's scores.")
    ] = 1e-6,
    curve: Annotated[bool, typer.Option(help="Whether speed is measured too, for 1 s.")] = True,
) -> None:
    """Make a bundle with its passport: proof that it answers as it was trained.

    Compares ONNX with the training library on the rows and on hostile ones made of them (NaN,
    infinite, extremes, categories never seen, the trees' own thresholds), beside changes of the
    label, and row by row in batches of all sizes. Writes model.onnx, bundle.toml, golden.json,
    passport.json and the model card. With an .onnx file the rows must hold the library's scores
    (`millstream bundle hostile` writes rows to be scored). Ends with 1 if a check fails: then no
    release takes the bundle.

    Example: millstream bundle make model.txt out --rows held_out.parquet --stream stream.toml
    """
    from millstream.models.bundle import Bundle
    from millstream.models.given import read_rows
    from millstream.models.model_card import write_model_card
    from millstream.models.proof import Limits

    names = tuple(labels.split(",")) if labels else None
    about = _About(card, stream, name, version, names, positive, threshold)
    measured = _Measured(truth, tuple(slices or ()), _lineage(training, lock), curve)
    table, limits = read_rows(rows), Limits(parity=parity_max, hostile=parity_max)
    if model.endswith(".onnx") or Path(model).is_dir():
        bundle, passport = _from_onnx(Path(model), folder, table, about, measured, limits)
    else:
        bundle, passport = _from_library(model, folder, table, about, measured, limits)
    if training is not None:
        _write_profile(bundle, training)
    write_model_card(bundle, passport)
    Bundle.load(folder)
    for check in passport.checks:
        typer.echo(f"{'ok' if check.passed else 'FAIL':4} {check}")
    typer.echo(f"wrote {folder}")
    if not passport.passed:
        raise typer.Exit(1)


def hostile(
    model: Annotated[Path, typer.Argument(help="An .onnx file, or a bundle's folder.")],
    rows: Annotated[Path, typer.Option(help="Rows like the stream's, .parquet or .csv.")],
    out: Annotated[Path, typer.Option(help="The .parquet file to write.")],
    card: Annotated[Path | None, typer.Option(help="With .onnx: a bundle.toml for it.")] = None,
) -> None:
    """Write rows for a training library to score: ordinary ones, and ones that break models.

    For models that come as ONNX. Add the library's own scores to the file, as a column score_LABEL
    for each label or one column score (regression, or the positive label's probability; null where
    the library refuses the row), and give it to `millstream bundle make --rows`.

    Example: millstream bundle hostile model.onnx --card bundle.toml --rows r.csv --out s.parquet
    """
    import pyarrow.parquet as pa_parquet

    from millstream.models.given import onnx_bundle, read_rows, to_answer

    bundle = onnx_bundle(model, model, card, _said(_About(card, None, *[None] * 5)))
    table = to_answer(bundle, read_rows(rows))
    pa_parquet.write_table(table, out)
    typer.echo(f"wrote {table.num_rows:,} rows to {out}")


def _from_onnx(
    source: Path, folder: Path, rows: pa.Table, about: _About, measured: _Measured, limits: Limits
) -> tuple[Bundle, Passport]:
    from millstream.models.bundle import write_bundle
    from millstream.models.given import answered, onnx_bundle
    from millstream.models.proof import attest

    made = onnx_bundle(folder, source, about.card, _said(about))
    tried = answered(made.card, rows)
    bundle = write_bundle(folder, made.model_bytes, made.card)
    proof = attest(bundle, tried, _facts(bundle, rows, measured), limits)
    return bundle, proof.save(folder)


def _from_library(
    source: str, folder: Path, rows: pa.Table, about: _About, measured: _Measured, limits: Limits
) -> tuple[Bundle, Passport]:
    from datetime import UTC, datetime

    from millstream.models.given import features_of, fitted
    from millstream.models.package import About, issue_passport, make_bundle
    from millstream.stream import Stream

    if about.stream is None:
        raise SettingsInvalid(
            f"{source} does not say what its columns are called", "Give --stream: a stream.toml"
        )
    stream = Stream.load(about.stream)
    features = features_of(stream.features.order, stream.features.categories, rows)
    sample = rows.select([feature.name for feature in features]).to_pandas()
    model = fitted(source)
    said = About(
        name=about.name or stream.name,
        version=about.version or "1",
        created=datetime.now(UTC),
        labels=about.labels or _labels(source, stream.label.kind),
        positive=about.positive,
        threshold=0.5 if about.threshold is None else about.threshold,
    )
    bundle = make_bundle(folder, model, features, sample, said, tolerance=limits.parity)
    return bundle, issue_passport(bundle, model, sample, _facts(bundle, rows, measured), limits)


def _labels(source: str, kind: str) -> tuple[str, ...] | None:
    """A LightGBM file does not know its labels; 0 and 1 are what its training saw."""
    return ("0", "1") if source.endswith(".txt") and kind == "binary" else None


def _said(about: _About) -> dict[str, object]:
    from datetime import UTC, datetime

    said = {
        "name": about.name,
        "version": about.version,
        "labels": about.labels,
        "positive": about.positive,
        "threshold": about.threshold,
    }
    return {k: v for k, v in said.items() if v is not None} | {"created": datetime.now(UTC)}


def _facts(bundle: Bundle, rows: pa.Table, measured: _Measured) -> Facts:
    import time
    from datetime import UTC, datetime

    from millstream.models.given import evaluated
    from millstream.models.proof import Facts

    evaluation = None
    if measured.truth is not None:
        evaluation = evaluated(bundle, rows, measured.truth, measured.slices)
    return Facts(
        issued=datetime.now(UTC),
        lineage=measured.lineage,
        evaluation=evaluation,
        clock=time.perf_counter if measured.curve else None,
    )


def _lineage(training: Path | None, lock: Path | None) -> Lineage:
    from millstream.models.lineage import Lineage, commit_of, dirty_of

    return Lineage(
        files=(_file(training),) if training else (),
        git_commit=commit_of(Path.cwd()),
        dirty=dirty_of(Path.cwd()),
        lock=_file(lock) if lock else None,
    )


def _file(path: Path) -> DataFile:
    """Told from where the command runs; by the md5 that DVC knows it by, where DVC does."""
    from millstream.training.files import lineage_of

    try:
        return lineage_of(path, None, Path.cwd())
    except OSError as why:
        raise SettingsInvalid(
            f"{path} cannot be read: {why.strerror}", "Give a readable file"
        ) from None


def _write_profile(bundle: Bundle, training: Path) -> None:
    from millstream.drift.profile import make_profile
    from millstream.models.given import read_rows

    order = [feature.name for feature in bundle.card.features]
    categories = [f.name for f in bundle.card.features if f.type == "category"]
    make_profile(bundle.name, order, read_rows(training), categories).save(bundle.folder)
