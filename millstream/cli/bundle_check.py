"""`millstream bundle check`, `show` and `diff`: what a bundle is, and whether it still is that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check(
    path: Folder,
    stream: Annotated[
        Path | None, typer.Option(help="Also whether it fits this stream.toml, and its [release].")
    ] = None,
    signed_by: Annotated[
        Path | None, typer.Option(help="Also whether this public key signed it.")
    ] = None,
    memory_gib: Annotated[
        float, typer.Option(min=1, help="Of address space that it may take on top.")
    ] = 8.0,
    as_json: AsJson = False,
) -> None:
    """Show again that a bundle answers as it was trained, without the training library.

    Loads it (digest, no external data, no foreign operators, sizes), reads its passport, scores its
    golden rows and compares with the scores that the training library gave; scores them alone, in
    batches of 64 and 2,048 and shuffled. Changes nothing. A model that wants more memory fails, and
    does not take the machine with it. Ends with 0; 1 if a check fails; 2 if the bundle is broken or
    has no passport.

    Example: millstream bundle check examples/loans/bundle
    """
    from millstream.fit import require_fit
    from millstream.models.bundle import Bundle
    from millstream.models.passport import require_passport
    from millstream.models.proof import repeat
    from millstream.stream import Stream

    _bound_memory(memory_gib)
    bundle = Bundle.load(path)
    passport = require_passport(bundle, "required", signed_by)
    assert passport is not None
    if stream is not None:
        require_fit(Stream.load(stream), bundle)
    found = repeat(bundle, passport)
    if as_json:
        typer.echo(json.dumps([each.model_dump() for each in found], indent=1))
    else:
        for each in found:
            typer.echo(f"{'ok' if each.passed else 'FAIL':4} {each}")
    if not all(each.passed for each in found):
        raise typer.Exit(1)


def show(path: Folder, as_json: AsJson = False) -> None:
    """Print a bundle's model card: what it is, how good, how fast, where from; measured facts only.

    Example: millstream bundle show examples/loans/bundle
    """
    from millstream.models.bundle import Bundle
    from millstream.models.model_card import markdown, model_card
    from millstream.models.passport import read_passport

    bundle = Bundle.load(path)
    passport = read_passport(bundle)
    if as_json:
        typer.echo(json.dumps(model_card(bundle, passport), indent=1))
    else:
        typer.echo(markdown(bundle, passport), nl=False)


def diff(
    old: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    new: Annotated[Path, typer.Argument(help="Another one's.")],
    as_json: AsJson = False,
) -> None:
    """Compare two bundles: what their cards and passports say, and what they answer.

    Both score the golden rows of both (as far as their features are the same): the largest
    difference, and how many labels flip. Intervals of measures stand beside each other; that they
    overlap proves nothing, the judge compares on the same rows. Always ends with 0.

    Example: millstream bundle diff models/loans/1 models/loans/2
    """
    from millstream.models.bundle import Bundle
    from millstream.models.comparison import compared

    lines = compared(Bundle.load(old), Bundle.load(new))
    if as_json:
        typer.echo(json.dumps([line.as_json() for line in lines], indent=1))
        return
    for line in lines:
        to = "" if line.new is None else f" -> {line.new}"
        typer.echo(f"{line.what}: {line.old}{to}")
    if not lines:
        typer.echo("they are the same")


def _bound_memory(gib: float) -> None:
    """So that a node which asks for more memory fails, and nothing else on the machine does."""
    import resource

    import millstream.models.proof  # noqa: F401 - its libraries' address space does not count

    used = Path("/proc/self/statm")
    if not used.exists():  # not Linux
        return
    pages = int(used.read_text("ascii").split()[0])
    wanted = pages * resource.getpagesize() + int(gib * (1 << 30))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
