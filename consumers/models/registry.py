"""Which registry of models a stream has, and a model by reference from wherever it lies.

Programs that score use `fetch_model` only: it asks an address or a folder, never MLflow.
"""

from __future__ import annotations

from pathlib import Path

from consumers.models.artifacts import fetch_located
from consumers.models.objects import is_remote
from millstream.errors import BundleInvalid, StreamInvalid
from millstream.models.fetching import Progress, cached, whole
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderRegistry, ModelRegistry
from millstream.stream import Stream

MLFLOW = "mlflow:"


def open_registry(stream: Stream) -> ModelRegistry:
    """The registry that `[model] registry` of stream.toml names; default the folder `models`.

    A folder (or file URL); `s3://BUCKET/PREFIX` and the like; `mlflow:URI`, whose models are stored
    in `[model] artifacts`. Raises StreamInvalid where it is none of these, SettingsInvalid where
    a package for it is not installed.
    """
    text = stream.model.registry
    if text.startswith(MLFLOW):
        from consumers.models.mlflow_registry import MlflowRegistry  # noqa: PLC0415

        return MlflowRegistry(
            _tracking_uri(stream, text.removeprefix(MLFLOW)),
            _address(stream, "artifacts", stream.model.artifacts),
        )
    address = _address(stream, "registry", text)
    if is_remote(address):
        from consumers.models.object_registry import ObjectRegistry  # noqa: PLC0415

        return ObjectRegistry(address)
    return FolderRegistry(Path(address.removeprefix("file://")))


def fetch_model(
    stream: Stream, reference: ModelReference, into: Path, progress: Progress | None = None
) -> Path:
    """A folder below `into` with the bundle that the reference means.

    One that is there already is used and nothing is asked; else its location; without one the
    stream's registry. Raises BundleInvalid where it cannot be had, DependencyUnavailable where it
    may be later: then the next call goes on where this one was cut.
    """
    if reference.location:
        return fetch_located(reference, into, progress)
    target = cached(reference, into)
    if whole(target, reference):
        return target
    if stream.model.registry.startswith(MLFLOW):
        raise BundleInvalid(
            f"{reference.label} has no location, and MLflow is not asked while events are scored",
            "Release it again by `millstream release`, which writes its location",
        )
    return open_registry(stream).fetch(reference, into, progress)


def _address(stream: Stream, key: str, text: str) -> str:
    """A URL as it is; a folder relative to stream.toml as a path."""
    if "://" in text:
        return text
    if not text or ":" in text:
        raise StreamInvalid(
            f"{stream.path}: model.{key} is {text!r}",
            "Give a folder, s3://BUCKET/PREFIX or mlflow:URI",
        )
    return str(stream.beside(text).absolute())


def _tracking_uri(stream: Stream, uri: str) -> str:
    """MLflow's URI; the file of sqlite:///FILE is relative to stream.toml as other paths are."""
    scheme, found, path = uri.partition(":///")
    if scheme == "sqlite" and found and not path.startswith("/"):
        return f"sqlite:///{stream.beside(path).absolute()}"
    if "://" not in uri:
        raise StreamInvalid(
            f"{stream.path}: model.registry is mlflow:{uri}",
            "Write mlflow:sqlite:///mlflow.db, or mlflow:http://HOST:PORT",
        )
    return uri
