"""`millstream init`: a working stream from an event schema and a model."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from millstream.errors import SettingsInvalid

if TYPE_CHECKING:
    from millstream.models.card import Kind


def init(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    name: Annotated[str, typer.Argument(help="Name of the stream and of its new folder.")],
    schema: Annotated[Path, typer.Option(help="Avro schema of the event (.avsc).")],
    model: Annotated[Path, typer.Option(help="A bundle's folder, or a bare .onnx file.")],
    key: Annotated[str | None, typer.Option(help="Field of the Kafka key. Else the id.")] = None,
    id: Annotated[str | None, typer.Option(help="Field that names the event.")] = None,
    time: Annotated[str | None, typer.Option(help="Field with the event's time.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Bare .onnx: event fields in model order, with commas.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Bare .onnx: binary, multiclass or regression.")
    ] = "binary",
    labels: Annotated[
        str, typer.Option(help="Bare .onnx: labels in the order of its scores, with commas.")
    ] = "0,1",
) -> None:
    """Write a working stream from an event schema and a model.

    Reads the schema and the model; writes ./NAME with stream.toml, the schema and the bundle, and
    checks that they fit. Fields named id or ..._id and timestamps are found by themselves.

    Example: millstream init orders --schema order.avsc --model model.onnx --features amount,items
    """
    from millstream.starter import ModelFacts, Roles, bundle_from_onnx, start_stream

    folder, roles = Path(name), Roles(key, id, time)
    if model.suffix == ".onnx":
        if features is None or kind not in {"binary", "multiclass", "regression"}:
            raise SettingsInvalid(
                f"{model} is a bare ONNX file, which does not say what its inputs mean",
                "Give --features a,b,c in model order and --kind binary, multiclass or regression",
            )
        with tempfile.TemporaryDirectory() as scratch:
            facts = ModelFacts(
                features.split(","),
                cast("Kind", kind),
                [] if kind == "regression" else labels.split(","),
                datetime.now(UTC),
            )
            bundle_from_onnx(Path(scratch) / "bundle", model, folder.name, facts)
            stream = start_stream(folder, schema, Path(scratch) / "bundle", roles)
    else:
        stream = start_stream(folder, schema, model, roles)
    typer.echo(f"wrote {stream.path}; next: millstream up {stream.path}")
