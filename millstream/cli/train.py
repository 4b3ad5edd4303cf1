"""`millstream train`: a candidate out of labelled rows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import StreamPath, WarehouseUrl, time_of, warehouse_settings
from millstream.errors import BundleInvalid, SettingsInvalid

if TYPE_CHECKING:
    from millstream.models.bundle import Bundle
    from millstream.models.passport import Passport
    from millstream.stream import Stream
    from millstream.training.families import Family
    from millstream.training.repeat import Source
    from millstream.training.rows import Rows
    from millstream.training.search import Progress
    from millstream.training.train import Trained

NONE = "none"
SEED_MAX = 2**32 - 1
"""NumPy's legacy generators, which scikit-learn draws from, take no larger one."""
Immature = Annotated[
    bool, typer.Option("--immature", help="Take events whose labels are not all in, too.")
]
Embargo = Annotated[float, typer.Option(min=0, help="Seconds left out before the rows that judge.")]
Against = Annotated[
    str | None,
    typer.Option(
        help="Compared with: a bundle's folder, NAME@VERSION or none. Else it is the "
        "registry's champion, else the stream's own bundle."
    ),
]
FromFile = Annotated[
    Path | None, typer.Option(help="Labelled rows of a CSV, JSON lines or Parquet file.")
]
TimeColumn = Annotated[
    str | None, typer.Option(help="The file's column with the time. Else the event's field.")
]
_MEASURES = ("log_loss", "accuracy", "auc", "brier", "calibration_error", "f1", "mae", "rmse")


def train(  # noqa: PLR0913, PLR0917 - one parameter for each option
    path: StreamPath,
    seconds: Annotated[
        float, typer.Option(min=0, help="Of the search; 0 tries each family's defaults once.")
    ] = 60.0,
    family: Annotated[
        list[str] | None,
        typer.Option(help="lightgbm, hist_gradient_boosting, logistic_regression, mlp. Else all."),
    ] = None,
    from_file: FromFile = None,
    label: Annotated[str, typer.Option(help="The file's column with what was true.")] = "label",
    time_column: TimeColumn = None,
    since: Annotated[
        str | None, typer.Option(help="Only events since: ISO 8601, UTC where it has no zone.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only events before: as --since.")] = None,
    rows: Annotated[int, typer.Option(min=100, help="At most so many rows, the newest.")] = 200_000,
    immature: Immature = False,
    embargo: Embargo = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Of every random choice.")] = 0,
    champion: Against = None,
    version: Annotated[str | None, typer.Option(help="Of the new model. Else the time.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the bundle here and register nothing.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the measures here as JSON.")] = None,
    warehouse: WarehouseUrl = None,
) -> None:
    """Train a candidate on labelled rows, compare it with the champion, and register it.

    The rows come from ClickHouse (matured labels with their events' features) or from a file, which
    DVC may track. They are cut by time: the oldest fit, newer ones choose among families and
    parameters and calibrate, the newest judge. Nothing is released: see `millstream release`.

    Example: millstream train examples/loans/stream.toml --seconds 60
    """
    from millstream.stream import Stream
    from millstream.training.search import Budget
    from millstream.training.split import Shares
    from millstream.training.train import TrainRequest
    from millstream.training.train import train as run

    stream = Stream.load(path)
    families = _families(family)
    _require_names(stream, version, out, report)
    against = _champion(stream, champion)
    card = against.card if against is not None else None
    if from_file is not None:
        _refuse_with_file(since, until, immature)
        found, source, notes = _from_file(stream, from_file, label, time_column, card)
        found = found.take(slice(-rows, None))
    else:
        from consumers.training_rows import Wanted

        share = None if immature else Wanted().mature_share
        wanted = Wanted(time_of("--since", since), time_of("--until", until), rows, share)
        found, source, notes = _from_warehouse(stream, warehouse, wanted, card)
    request = TrainRequest(
        Budget(seconds, families, seed), Shares(embargo_s=embargo), True, against
    )
    with _progress(seconds) as show:
        trained = run(request, found, time.monotonic, show)
    now = datetime.now(UTC)
    bundle, passport, where = _write(stream, trained, (source, found), version, now, out)
    if report is not None:
        report.write_text(json.dumps(_as_json(trained, bundle, passport), indent=2) + "\n")
    _tell(trained, bundle, passport, (*notes, *trained.notes), where)
    raise typer.Exit(0 if passport.passed else 1)


def _families(asked: list[str] | None) -> tuple[Family, ...]:
    from millstream.toml import nearest
    from millstream.training.families import FAMILIES

    for name in asked or ():
        if name not in FAMILIES:
            raise SettingsInvalid(
                f"--family {name} is none{nearest(name, list(FAMILIES))}",
                f"Give one of {', '.join(FAMILIES)}",
            )
    return tuple(name for name in FAMILIES if not asked or name in asked)


def _require_names(
    stream: Stream, version: str | None, out: Path | None, report: Path | None
) -> None:
    """What is only used when all is trained is refused before."""
    from millstream.models.bundle import Bundle
    from millstream.models.reference import require_word

    if version is not None:
        require_word("version", version)
    if out is not None and out.exists():
        there = Bundle.load(out)
        if (there.name, there.version) != (stream.name, version):
            raise BundleInvalid(
                f"--out {out} already holds {there.name} {there.version}", "Name another folder"
            )
    if report is not None and not report.parent.is_dir():
        raise SettingsInvalid(
            f"--report {report}: there is no folder {report.parent}", "Make it, or name another"
        )


def _refuse_with_file(since: str | None, until: str | None, immature: bool) -> None:
    if since or until or immature:
        raise SettingsInvalid(
            "--since, --until and --immature are for rows from ClickHouse",
            "Leave them out, or leave --from-file out",
        )


def _champion(stream: Stream, asked: str | None) -> Bundle | None:
    from consumers.models.registry import open_registry
    from millstream.models.bundle import Bundle

    if asked == NONE:
        return None
    with TemporaryDirectory() as folder:
        if asked is not None:
            return bundle_named(stream, asked, Path(folder))
        alias = open_registry(stream).alias(stream.name, "champion")
        if alias is not None:
            return bundle_named(stream, f"{stream.name}@{alias.version}", Path(folder))
    if (stream.bundle_path / "bundle.toml").is_file():
        return Bundle.load(stream.bundle_path)
    return None


def bundle_named(stream: Stream, which: str, into: Path) -> Bundle:
    """A folder's bundle, or the registry's; its files lie in `into` as long as that is there."""
    from consumers.models.registry import open_registry
    from millstream.models.bundle import Bundle
    from millstream.models.registry import resolve

    if Path(which).is_dir():
        return Bundle.load(Path(which))
    registry = open_registry(stream)
    reference = resolve(registry, which if "@" in which else f"{stream.name}@{which}")
    return Bundle.load(registry.fetch(reference, into))


def _from_file(
    stream: Stream, path: Path, label: str, time_column: str | None, card: Any
) -> tuple[Rows, Source, tuple[str, ...]]:
    from millstream.training.files import Columns, lineage_of, rows_of_file
    from millstream.training.repeat import Source

    columns = Columns(label, time_column)
    origin = lineage_of(path, 0, stream.path.parent)  # first: DVC may say that it is not here
    rows = rows_of_file(stream, path, columns, card)
    file = origin.model_copy(update={"rows": len(rows)})
    return rows, Source(file=file, columns=asdict(columns)), ()


def _from_warehouse(
    stream: Stream, url: str | None, wanted: Any, card: Any
) -> tuple[Rows, Source, tuple[str, ...]]:
    from consumers.training_rows import read
    from consumers.warehouse import Warehouse
    from millstream.training.repeat import Source

    connected = Warehouse.connect(warehouse_settings(url))
    try:
        loaded = read(stream, connected, wanted, card)
    finally:
        connected.close()
    return loaded.rows, Source(loaded.query, loaded.offsets), loaded.notes


@contextmanager
def _progress(seconds: float) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=max(seconds, 1e-9))

        def show(at: Progress) -> None:
            best = f", best {at.best.family} {at.best.loss:.4f}" if at.best else ""
            said = f"{at.trials} trials{best}; {at.family or 'measuring'}"
            bar.update(task, completed=min(at.elapsed_s, seconds), description=said)

        yield show


def _write(
    stream: Stream,
    trained: Trained,
    made_of: tuple[Source, Rows],
    version: str | None,
    now: datetime,
    out: Path | None,
) -> tuple[Bundle, Passport, str]:
    """The bundle in `out`, or registered; and where that is."""
    from consumers.models.registry import open_registry
    from millstream.training.repeat import lineage_of
    from millstream.training.write import Naming, write_trained

    source, rows = made_of
    lineage = lineage_of(rows, trained.recipe, source, stream.path.parent)
    named = version or f"{now:%Y%m%d-%H%M%S}"
    naming = Naming(stream.name, named, now, trained.threshold)
    test = trained.parts.test.columns
    kept = [name for name in stream.watch.slices if name in test.column_names]
    slices = {name: test.column(name).to_pylist() for name in kept}
    if out is not None:
        bundle, passport = write_trained(trained, out, naming, lineage, slices)
        return bundle, passport, str(out)
    with TemporaryDirectory() as folder:
        bundle, passport = write_trained(trained, Path(folder) / "b", naming, lineage, slices)
        tags = {"family": trained.recipe.family, "trained": now.isoformat(timespec="seconds")}
        open_registry(stream).add(bundle.folder, tags)
    return bundle, passport, f"registry {stream.model.registry} as {stream.name}@{named}"


def _as_json(trained: Trained, bundle: Bundle, passport: Passport) -> dict[str, Any]:
    comparison = trained.comparison
    return {
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "passport": passport.passed,
        "recipe": trained.recipe.as_lineage(),
        "rows": {"fitted": len(trained.parts.known), "tested": len(trained.parts.test)},
        "measures": trained.measures.as_json(),
        "trials": len(trained.trials),
        "champion": None
        if comparison is None
        else {
            "name": comparison.champion,
            "rows": comparison.rows,
            "better": comparison.better,
            "differences": [each.model_dump() for each in comparison.differences],
        },
    }


def _tell(
    trained: Trained, bundle: Bundle, passport: Passport, notes: tuple[str, ...], where: str
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    recipe, comparison = trained.recipe, trained.comparison
    calibration = trained.candidate.calibration
    console.print(
        f"{bundle.name} {bundle.version}: {recipe.family}, best of {len(trained.trials)} trials, "
        f"fitted on {len(trained.parts.known):,} rows, "
        f"{'not calibrated' if calibration is None else 'calibrated by a ' + calibration.name}",
        markup=False,
        soft_wrap=True,
    )
    table = Table(title=f"on the newest {len(trained.parts.test):,} rows", box=SIMPLE_HEAD)
    for head in ("measure", "candidate", "its 95 % interval", "champion", "difference (95 %)"):
        table.add_column(head, justify="left" if head == "measure" else "right", no_wrap=True)
    theirs = comparison.champion_measures.as_json() if comparison else {}
    apart = {each.name: each for each in comparison.differences} if comparison else {}
    for metric in passport.evaluation.metrics if passport.evaluation else ():
        if metric.name not in _MEASURES:
            continue
        other, gap = theirs.get(metric.name), apart.get(metric.name)
        table.add_row(
            metric.name.replace("_", " "),
            f"{metric.value:.4f}",
            f"{metric.low:.4f} to {metric.high:.4f}",
            "-" if other is None else f"{other:.4f}",
            "-" if gap is None else f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})",
        )
    console.print(table)
    if comparison is not None:
        said = "surely better" if comparison.better else "neither better nor worse for sure"
        said = "surely worse" if comparison.worse else said
        console.print(
            f"{said} than {comparison.champion} on {comparison.rows:,} common rows", markup=False
        )
    for note in notes:
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    failure = passport.first_failure
    if failure is not None:
        console.print(f"the passport fails: {failure}", style="red", markup=False, soft_wrap=True)
    console.print(f"{bundle.digest}\n{where}", markup=False, soft_wrap=True)
