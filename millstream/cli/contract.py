"""`millstream contract`: what other teams need to know of a stream, and what it makes of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.options import StreamPath, registry_settings
from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.contract.checker import Checker
    from millstream.contract.reading import Given
    from millstream.stream import Stream

app = typer.Typer(
    name="contract",
    help="What other teams need to know of a stream.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ANY_ID = 1
"""Stands in the frames of events that are given as JSON."""


@app.command()
def make(
    path: StreamPath,
    to: Annotated[Path, typer.Option(help="Folder to write, or with --check to compare.")],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where a file differs.")
    ] = False,
) -> None:
    """Write a stream's contract: AsyncAPI, Avro and JSON Schemas, and a producer's test kit.

    Reads stream.toml, the event schema and schemas/; asks nobody. The same input gives the same
    bytes, so the folder can be committed and compared in CI. Files in the folder that are of no
    contract are left alone when writing, and named by --check.

    Example: millstream contract make examples/loans/stream.toml --to examples/loans/contract
    """
    from millstream.contract.folder import contract_files, differences
    from millstream.stream import Stream

    wanted = contract_files(Stream.load(path))
    if check:
        found = differences(wanted, to)
        for line in found:
            typer.echo(line)
        if found:
            typer.echo(f"write it again: millstream contract make {path} --to {to}")
            raise typer.Exit(1)
        typer.echo(f"{to} is the stream's contract")
        return
    try:
        for name, text in wanted.items():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes(text.encode())
    except OSError as why:
        raise SettingsInvalid(f"--to {to} cannot be written: {why}", "Give a folder") from why
    typer.echo(f"wrote {len(wanted)} files to {to}")


@app.command()
def asyncapi(path: StreamPath) -> None:
    """Print a stream's AsyncAPI 3.0 document.

    Reads stream.toml, the event schema and schemas/; asks nobody.

    Example: millstream contract asyncapi examples/loans/stream.toml
    """
    from millstream.contract.folder import contract_files
    from millstream.stream import Stream

    typer.echo(contract_files(Stream.load(path))[Path("asyncapi.yaml")], nl=False)


@app.command("check")
def check_records(
    path: StreamPath,
    records: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_HEX",
            help="One Kafka value (any file), .hex (a value a line), .json or .jsonl (events, or "
            "the test kit), or the value itself in hexadecimal.",
        ),
    ],
    schema_id: Annotated[
        int | None, typer.Option(help="Only this id is the stream's schema. Else every id is.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option("--registry", help="Look schema ids up in this registry.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Ask this bundle's model too. Else: no null, no NaN.")
    ] = None,
) -> None:
    """Say what a scorer would make of these records, before they are published.

    The scorer's own decoder judges them: scored, with the Kafka key that each must have and the
    partition that it lands on, or refused, with stage, error and reason. Reads stream.toml and the
    event schema; asks the registry and the model only where they are named. Exit code 0 if all are
    scored, 1 if any is refused, 2 if the argument is neither a file nor hexadecimal.

    Example: millstream contract check examples/loans/stream.toml captured.bin
    """
    from millstream.contract.reading import read_given
    from millstream.stream import Stream

    stream = Stream.load(path)
    given = read_given(stream, records, ANY_ID if schema_id is None else schema_id)
    checker = _checker(stream, schema_id, registry, bundle)
    if _report(checker, given):
        raise typer.Exit(1)


def _checker(
    stream: Stream, schema_id: int | None, registry: str | None, bundle: Path | None
) -> Checker:
    from consumers.registry import Registry
    from millstream.contract.checker import Checker, own_schema
    from millstream.fit import require_fit
    from millstream.models.bundle import Bundle

    schema_of = own_schema(stream, schema_id)
    if registry is not None:
        schema_of = Registry(registry_settings(registry)).schema
    model = Bundle.load(bundle) if bundle is not None else None
    if model is not None:
        require_fit(stream, model)
    return Checker(stream, schema_of, model)


def _report(checker: Checker, given: list[Given]) -> int:
    """One line for each record, and how many of all; the number that is refused."""
    verdicts = iter(checker.check([each.value for each in given if each.wrong is None]))
    refused = 0
    for each in given:
        if each.wrong is not None:
            refused += 1
            typer.echo(f"{each.name}: no event: {each.wrong}")
            continue
        verdict = next(verdicts)
        if verdict.refusal is not None:
            refused += 1
            why = verdict.refusal
            typer.echo(f"{each.name}: refused: {why.stage}: {why.name}: {why.reason}")
            continue
        assert verdict.key is not None
        score = "" if verdict.score is None else f", score {verdict.score:.6g}"
        typer.echo(
            f"{each.name}: scored: id {verdict.event_id}, key {verdict.key.decode()}, "
            f"partition {verdict.partition}{score}"
        )
    typer.echo(f"{len(given) - refused:,} scored, {refused:,} refused")
    return refused
