"""`millstream bundle keys` and `sign`: who answers for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keys(
    name: Annotated[str, typer.Argument(help="The files are NAME.pem and NAME.public.pem.")],
    folder: Annotated[Path, typer.Option(help="Where to write them.")] = Path(),
) -> None:
    """Make an Ed25519 key pair to sign bundles with.

    NAME.pem is the secret, readable by you only and without a password: keep it off the machines
    that score. NAME.public.pem is for `signed_by` under [release] of stream.toml. Nothing is
    overwritten.

    Example: millstream bundle keys releases
    """
    from millstream.models.signing import key_name, make_keys

    private, public = make_keys(folder, name)
    typer.echo(f"wrote {private} and {public}: {key_name(public)}")


def sign(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder.")],
    key: Annotated[Path, typer.Option(help="The private key, PEM.")],
) -> None:
    """Sign a bundle: signature.json, over the digests of all of its files.

    Sign last: a file that is changed, added or taken away afterwards makes the signature void.
    tuning.json is of a machine, and is not signed.

    Example: millstream bundle sign models/loans/2 --key releases.pem
    """
    from millstream.models.bundle import Bundle
    from millstream.models.signing import sign as signed

    bundle = Bundle.load(path)
    typer.echo(f"wrote {signed(bundle, key)}")
