"""Which registry stream.toml names, and a model by reference from wherever it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consumers.models.artifacts import ArtifactStore
from consumers.models.mlflow_registry import MlflowRegistry
from consumers.models.object_registry import ObjectRegistry
from consumers.models.registry import fetch_model, open_registry
from millstream.errors import BundleInvalid, OperatorNeeded, StreamInvalid
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderRegistry
from millstream.stream import Stream
from tests.consumers.warehouses import stream_in
from tests.millstream.models.graphs import written


def _stream(folder: Path, registry: str | None = None, artifacts: str = "artifacts") -> Stream:
    """A stream whose [model] table says so."""
    stream = stream_in(folder, "loans")
    text = stream.path.read_text()
    if registry is not None:
        said = f'registry = "{registry}"\nartifacts = "{artifacts}"\n'
        text = text.replace("[model]\n", f"[model]\n{said}")
        assert said in text
    stream.path.write_text(text)
    return Stream.load(stream.path)


def test_by_default_it_is_the_folder_models_beside_the_file(tmp_path: Path) -> None:
    """Nothing must be installed or said."""
    registry = open_registry(_stream(tmp_path))
    assert isinstance(registry, FolderRegistry)
    registry.add(written(tmp_path / "bundle").folder, {})
    assert (tmp_path / "models" / "test" / "versions" / "1").is_dir()


def test_a_folder_a_bucket_or_mlflow(
    tmp_path: Path, s3_address: str, mlflow_database: Path
) -> None:
    """As `[model] registry` says; paths are relative to stream.toml."""
    for text, kind in (
        ("elsewhere", FolderRegistry),
        (f"file://{tmp_path}/elsewhere", FolderRegistry),
        (s3_address, ObjectRegistry),
        (f"mlflow:sqlite:///{mlflow_database}", MlflowRegistry),
    ):
        assert isinstance(open_registry(_stream(tmp_path, text)), kind)
    found = open_registry(_stream(tmp_path, "mlflow:sqlite:///sub/mlflow.db"))
    assert isinstance(found, MlflowRegistry)
    assert found.uri == f"sqlite:///{tmp_path}/sub/mlflow.db"


@pytest.mark.parametrize(
    "text", ["", "mlflow:", "mlflow:mlflow.db", "C:models", "http://host/x", "s3://"]
)
def test_what_is_no_registry_is_the_operators(tmp_path: Path, text: str) -> None:
    """Before anything is asked."""
    with pytest.raises(OperatorNeeded):
        open_registry(_stream(tmp_path, text))
    with pytest.raises(StreamInvalid, match=r"model\.registry"):
        open_registry(_stream(tmp_path, ""))


def test_a_model_is_fetched_by_its_location_or_from_the_registry(tmp_path: Path) -> None:
    """And not at all where it is already."""
    stream = _stream(tmp_path)
    bundle = written(tmp_path / "bundle")
    here = open_registry(stream).add(bundle.folder, {})
    elsewhere = ArtifactStore(str(tmp_path / "store")).put(bundle.folder)
    assert here.location == ""
    first = fetch_model(stream, here, tmp_path / "a")
    assert Bundle.load(first).digest == bundle.digest
    assert Bundle.load(fetch_model(stream, elsewhere, tmp_path / "b")).digest == bundle.digest
    lost = ModelReference("test", "1", bundle.digest, "file:///nowhere")
    assert fetch_model(stream, lost, tmp_path / "a") == first
    with pytest.raises(BundleInvalid, match="/nowhere"):
        fetch_model(stream, lost, tmp_path / "c")


def test_mlflow_is_not_asked_for_a_model_without_location(tmp_path: Path) -> None:
    """A program that scores has no client of it."""
    reference = ModelReference("test", "1", "sha256:" + "0" * 64)
    stream = _stream(tmp_path, "mlflow:http://127.0.0.1:9")
    with pytest.raises(BundleInvalid, match="MLflow is not asked"):
        fetch_model(stream, reference, tmp_path / "cache")


_IMPORTS = """
import sys
import consumers.scorer, consumers.answering, consumers.models.registry
import millstream.cli.programs
trained = ("mlflow", "sklearn", "lightgbm", "river", "pandas", "dvc", "boto3", "s3fs", "torch")
print([name for name in trained if name in sys.modules])
"""


def test_a_scorer_imports_no_training_library_and_no_mlflow() -> None:
    """Nor a client of an object store, before a model's address says that it needs one."""
    run = subprocess.run(
        [sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "[]\n"
