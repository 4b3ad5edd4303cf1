"""`millstream models`: the registry of models, which stream.toml names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.options import StreamPath
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.models.fetching import Progress
    from millstream.models.reference import ModelReference
    from millstream.models.registry import Entry, ModelRegistry

app = typer.Typer(
    name="models",
    help="The registry of models: versions, tags, aliases.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="NAME@VERSION, NAME@ALIAS or models:/NAME@ALIAS.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _models() -> None:
    """The registry of models: versions, tags, aliases.

    It is what [model] registry of stream.toml says: a folder (default: models, beside it), a bucket
    as s3://BUCKET/PREFIX, or MLflow as mlflow:sqlite:///mlflow.db or mlflow:http://HOST:PORT.
    """


@app.command()
def add(
    path: StreamPath,
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle's folder, or models:/NAME@ALIAS.")
    ],
    tag: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE; may be given several times.")
    ] = None,
    alias: Annotated[str | None, typer.Option(help="That means this version from now on.")] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(help="Import from this MLflow: sqlite:////PATH/mlflow.db, http://HOST:PORT."),
    ] = None,
) -> None:
    """Register a bundle as a version of its model, by the name and version of its card.

    Every file of its folder is kept but tuning.json: add the passport, the card and the signature
    before. A version never changes: the same one again changes nothing, another one is refused.
    With models:/NAME@ALIAS (or models:/NAME/VERSION) the bundle is imported from MLflow.

    Example: millstream models add examples/loans/stream.toml build/loans-4 --alias challenger
    """
    tags = dict(_pair(text) for text in tag or [])
    with _opened(path) as registry:
        if bundle.startswith("models:/"):
            reference, new = _import(registry, bundle, mlflow, tags)
        else:
            reference, new = _added(registry, Path(bundle), tags)
        if alias is not None:
            registry.set_alias(reference.name, alias, reference.version)
    typer.echo(f"{reference.label}  {reference.digest}")
    typer.echo("added" if new else "was registered before: it stays as it was, tags too")
    if alias is not None:
        typer.echo(f"{reference.name}@{alias} is {reference.version} now")


@app.command(name="list")
def list_(
    path: StreamPath,
    name: Annotated[str | None, typer.Argument(help="Of this model only.")] = None,
    json: AsJson = False,
) -> None:
    """Show the registered versions, in the order of their registration.

    Example: millstream models list examples/loans/stream.toml
    """
    with _opened(path) as registry:
        names = [name] if name is not None else registry.names()
        rows = [
            _fields(entry, registry.aliases(each))
            for each in names
            for entry in registry.versions(each)
        ]
    if json:
        _print_json(rows)
    elif not rows:
        typer.echo("no models: register one by `millstream models add`")
    else:
        _print_table(rows)


@app.command()
def show(path: StreamPath, model: Model, json: AsJson = False) -> None:
    """Show one version: digest, address, aliases, tags.

    Example: millstream models show examples/loans/stream.toml loans@champion
    """
    from millstream.models.registry import resolve

    with _opened(path) as registry:
        reference = resolve(registry, model)
        entry = next(e for e in registry.versions(reference.name) if e.reference == reference)
        fields = _fields(entry, registry.aliases(reference.name))
    if json:
        _print_json(fields)
        return
    tags = fields.pop("tags")
    for key, value in fields.items():
        typer.echo(f"{key:12}{', '.join(value) if isinstance(value, list) else value}".rstrip())
    for key, value in tags.items():
        typer.echo(f"tag {key} = {value}")


@app.command()
def alias(
    path: StreamPath,
    model: Model,
    alias: Annotated[str, typer.Argument(help="Such as champion or challenger.")],
) -> None:
    """Let an alias mean this version.

    An alias is for people and for `models:/NAME@ALIAS`: which version answers is a release.

    Example: millstream models alias examples/loans/stream.toml loans@4 champion
    """
    from millstream.models.registry import resolve

    with _opened(path) as registry:
        reference = resolve(registry, model)
        before = registry.aliases(reference.name).get(alias)
        registry.set_alias(reference.name, alias, reference.version)
    was = f" (it was {before})" if before not in (None, reference.version) else ""
    typer.echo(f"{reference.name}@{alias} is {reference.version} now{was}")


@app.command()
def fetch(
    path: StreamPath,
    model: Model,
    into: Annotated[Path, typer.Argument(help="A folder; the bundle's will be below it.")],
) -> None:
    """Fetch a version's bundle, every byte checked; prints its folder.

    A fetch that was cut goes on where it was; one that is there already is not fetched again.

    Example: millstream models fetch examples/loans/stream.toml loans@champion /tmp/models
    """
    from millstream.models.registry import resolve

    with _opened(path) as registry, _bar("fetching") as progress:
        folder = registry.fetch(resolve(registry, model), into, progress)
    typer.echo(str(folder))


@contextmanager
def _opened(path: Path) -> Iterator[ModelRegistry]:
    from consumers.models.registry import open_registry
    from millstream.stream import Stream

    yield open_registry(Stream.load(path))


def _added(
    registry: ModelRegistry, folder: Path, tags: dict[str, str]
) -> tuple[ModelReference, bool]:
    """The bundle's reference, and whether it was not registered before."""
    from millstream.errors import BundleInvalid
    from millstream.models.bundle import Bundle

    card = Bundle.load(folder).card
    try:
        registry.find(card.name, card.version)
    except BundleInvalid:
        return registry.add(folder, tags), True
    return registry.add(folder, tags), False


def _import(
    registry: ModelRegistry, text: str, mlflow: str | None, tags: dict[str, str]
) -> tuple[ModelReference, bool]:
    import tempfile

    from consumers.models.mlflow_registry import MlflowRegistry

    with tempfile.TemporaryDirectory(prefix="millstream-") as folder, _bar("fetching") as progress:
        if mlflow is not None:
            source = MlflowRegistry(mlflow, folder)
        elif isinstance(registry, MlflowRegistry):
            source = registry
        else:
            raise SettingsInvalid(
                f"{text} is MLflow's, and no MLflow is named", "Give its URI as --mlflow"
            )
        return _added(registry, source.imported(text, Path(folder) / "imported", progress), tags)


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found:
        raise SettingsInvalid(f"--tag {text} has no value", "Write it as KEY=VALUE")
    return key, value


def _fields(entry: Entry, aliases: dict[str, str]) -> dict[str, Any]:
    reference = entry.reference
    return {
        "name": reference.name,
        "version": reference.version,
        "aliases": sorted(a for a, version in aliases.items() if version == reference.version),
        "registered": entry.created_at.isoformat(timespec="seconds"),
        "digest": reference.digest,
        "location": reference.location,
        "tags": dict(entry.tags),
    }


def _print_json(found: object) -> None:
    import json

    typer.echo(json.dumps(found, indent=1, ensure_ascii=False))


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("model", "version", "aliases", "registered (UTC)", "digest", "tags"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["name"],
            row["version"],
            ", ".join(row["aliases"]),
            row["registered"][:16].replace("T", " "),
            row["digest"].removeprefix("sha256:")[:12],
            ", ".join(f"{key}={value}" for key, value in row["tags"].items()),
        )
    Console(markup=False).print(table)


@contextmanager
def _bar(what: str) -> Iterator[Progress]:
    """A bar of bytes on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(*columns, TransferSpeedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)
