"""Each kind of model registry, empty, for the tests that all of them must pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consumers.models.mlflow_registry import MlflowRegistry
from consumers.models.object_registry import ObjectRegistry
from millstream.models.registry import FolderRegistry, ModelRegistry

KINDS = ["folder", "s3", "mlflow_file", "mlflow_server"]


def opened(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRegistry:
    """A new registry of the kind that the fixture's parameter names."""
    if request.param == "folder":
        return FolderRegistry(tmp_path / "models")
    if request.param == "mlflow_file":
        return MlflowRegistry(
            f"sqlite:///{new_database(request, tmp_path)}", str(tmp_path / "artifacts")
        )
    address: str = request.getfixturevalue("s3_address")
    if request.param == "s3":
        return ObjectRegistry(address)
    return MlflowRegistry(request.getfixturevalue("mlflow_empty"), address)


def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A new SQLite file with MLflow's tables: copied, for making them takes seconds."""
    made: Path = request.getfixturevalue("mlflow_database")
    return Path(shutil.copyfile(made, tmp_path / "mlflow.db"))
