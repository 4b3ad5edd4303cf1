"""`millstream repro`: a model trained again from what its passport says."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import WarehouseUrl, warehouse_settings
from millstream.cli.train import bundle_named
from millstream.errors import BundleInvalid

if TYPE_CHECKING:
    from millstream.models.bundle import Bundle
    from millstream.stream import Stream
    from millstream.training.rows import Rows


def repro(
    which: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, NAME@VERSION or bundle's folder.")
    ],
    stream_file: Annotated[Path, typer.Option("--stream", help="The stream's file.")] = Path(
        "stream.toml"
    ),
    warehouse: WarehouseUrl = None,
) -> None:
    """Train a model again from what its passport says, and compare the digests.

    Reads the same rows (by the same query, or from the same file), and fits by the same recipe.
    Ends with 0 if the very same model came out, else with 1 and which inputs differ.

    Example: millstream repro 20260301-120000 --stream examples/loans/stream.toml
    """
    from millstream.models.passport import read_passport
    from millstream.stream import Stream
    from millstream.training.repeat import repeat
    from millstream.training.train import Recipe

    stream = Stream.load(stream_file)
    with TemporaryDirectory() as folder:
        bundle = bundle_named(stream, which, Path(folder))
        passport = read_passport(bundle)
    lineage = passport.lineage if passport is not None else None
    if lineage is None:
        raise BundleInvalid(
            f"nothing says how {bundle.name} {bundle.version} was made",
            "Only a bundle that `millstream train` made can be repeated",
        )
    if "teacher" in lineage.recipe:
        raise BundleInvalid(
            f"{bundle.name} {bundle.version} is a student of {lineage.recipe['teacher']}",
            "Repeat its teacher, or make a student anew: millstream bundle optimise --logged",
        )
    Recipe.of(lineage)  # before any row is read
    found, file = _again(stream, lineage, bundle, warehouse)
    made = repeat(lineage, bundle.digest, found, file, stream.path.parent)
    typer.echo(f"{bundle.name} {bundle.version}: {bundle.digest}")
    typer.echo(f"made again{' ' * (len(bundle.name) + len(bundle.version) - 8)}: {made.digest}")
    for difference in made.differences:
        typer.echo(f"  differs: {difference}")
    if made.same:
        typer.echo("the same model")
    elif not made.differences:
        typer.echo("  every recorded input is the same: the arithmetic of this machine differs")
    raise typer.Exit(0 if made.same else 1)


def _again(stream: Stream, lineage: Any, bundle: Bundle, url: str | None) -> tuple[Rows, Any]:
    """The rows of a lineage, as they are now."""
    from millstream.models.lineage import hash_of
    from millstream.training.files import Columns, rows_of_file
    from millstream.training.rows import CannotTrain, Task

    task = Task.of_card(bundle.card)
    if lineage.files:
        origin = lineage.files[0]
        path = stream.path.parent / origin.path
        if not path.is_file():
            raise CannotTrain(
                f"the file {path} is not here",
                f"Run `dvc pull {path}`" if origin.dvc else "Bring it back",
            )
        told = lineage.recipe
        columns = Columns(str(told["column_label"]), told.get("column_time"))
        rows = rows_of_file(stream, path, columns, task=task)
        rows = rows.take(slice(-int(told["rows"]), None))
        now = hash_of(path, origin.hash.partition(":")[0])
        return rows, origin.model_copy(update={"hash": now})
    if lineage.query is None:
        raise CannotTrain("the lineage names no rows", "Only what `millstream train` made can be")
    from consumers.training_rows import ask, require_own_query
    from consumers.warehouse import Warehouse

    require_own_query(stream, lineage.query.text)
    connected = Warehouse.connect(warehouse_settings(url))
    try:
        return ask(stream, connected, lineage.query.text, task=task)[0], None
    finally:
        connected.close()
