"""The registry in MLflow, where it differs from the others; the rest is tests/contract."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from consumers.models.mlflow_registry import MlflowRegistry
from millstream.errors import BundleInvalid, DependencyUnavailable, SettingsInvalid
from millstream.models.bundle import Bundle
from ops.process import free_ports
from tests.millstream.models.graphs import identity, one_node, written


@pytest.fixture
def uri(mlflow_database: Path, tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{shutil.copyfile(mlflow_database, tmp_path / 'mlflow.db')}"


@pytest.fixture
def registry(uri: str, tmp_path: Path) -> MlflowRegistry:
    """A registry on it, models in a folder."""
    return MlflowRegistry(uri, str(tmp_path / "artifacts"))


@pytest.fixture
def client(uri: str) -> Any:
    """MLflow's own client of it."""
    return MlflowClient(uri, uri)


def test_mlflows_own_client_sees_what_was_registered(
    registry: MlflowRegistry, client: Any, tmp_path: Path
) -> None:
    """Version, digest and address as tags, the address as the source, aliases as aliases."""
    reference = registry.add(written(tmp_path / "bundle", version="2026-05").folder, {"by": "me"})
    registry.set_alias("test", "champion", "2026-05")
    found = client.get_model_version_by_alias("test", "champion")
    assert found.source == reference.location
    assert found.tags == {
        "millstream.version": "2026-05",
        "millstream.digest": reference.digest,
        "millstream.location": reference.location,
        "by": "me",
    }


_ADD = """
import sys, pathlib
from consumers.models.mlflow_registry import MlflowRegistry
from millstream.errors import BundleInvalid
registry = MlflowRegistry(sys.argv[1], sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(6):
    try:
        print(registry.add(pathlib.Path(sys.argv[3]) / str(number), {}).digest)
    except BundleInvalid:
        print("refused")
"""


def test_two_that_add_at_once_agree(registry: MlflowRegistry, uri: str, tmp_path: Path) -> None:
    """Six versions, two models for each: one of them stays, the other is refused."""
    for number in range(6):
        written(tmp_path / "a" / str(number), identity(), version=str(number))
        written(tmp_path / "b" / str(number), one_node("Neg")(), version=str(number))
    argv = [sys.executable, "-c", _ADD, uri, str(tmp_path / "artifacts")]
    processes = [
        subprocess.Popen(
            [*argv, str(tmp_path / side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdin is not None
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    for number in range(6):
        there = registry.find("test", str(number)).digest
        assert sorted(answer[number] for answer in answers) == sorted([there, "refused"])


def test_of_a_doubled_version_the_lower_number_stays(
    registry: MlflowRegistry, client: Any, tmp_path: Path
) -> None:
    """Whoever was killed between adding and looking again left one that is never found."""
    first = registry.add(written(tmp_path / "a").folder, {})
    tags = {
        "millstream.version": "1",
        "millstream.digest": "sha256:" + "0" * 64,
        "millstream.location": "file:///elsewhere",
    }
    client.create_model_version("test", source="file:///elsewhere", tags=tags)
    assert registry.find("test", "1") == first
    assert [entry.reference for entry in registry.versions("test")] == [first]


def test_models_that_others_logged_are_left_alone(
    registry: MlflowRegistry, client: Any, tmp_path: Path
) -> None:
    """Not listed; an alias that means one says how to import it."""
    client.create_registered_model("other")
    number = client.create_model_version("other", source=str(tmp_path / "logged")).version
    client.set_registered_model_alias("other", "champion", number)
    assert registry.names() == []
    assert registry.versions("other") == []
    with pytest.raises(BundleInvalid, match="models add"):
        registry.alias("other", "champion")


def test_a_bundle_that_others_logged_is_imported(
    registry: MlflowRegistry, client: Any, tmp_path: Path
) -> None:
    """By alias or number; the files lie where they logged them, beside files of MLflow's own."""
    logged = tmp_path / "logged"
    bundle = written(logged / "data", name="loans", version="7")
    (logged / "MLmodel").write_text("flavors: {}\n")
    client.create_registered_model("theirs")
    number = client.create_model_version("theirs", source=str(logged)).version
    client.set_registered_model_alias("theirs", "champion", number)
    for text in ("models:/theirs@champion", f"models:/theirs/{number}", f"theirs@{number}"):
        folder = registry.imported(text, tmp_path / "imported" / text.replace("/", "_"))
        assert Bundle.load(folder).digest == bundle.digest
    for text in ("models:/theirs@challenger", "models:/theirs/9", "models:/nobodys/1"):
        with pytest.raises(BundleInvalid, match="no model"):
            registry.imported(text, tmp_path / "none")


def test_our_own_versions_are_imported_by_alias(registry: MlflowRegistry, tmp_path: Path) -> None:
    """Every byte checked against the address."""
    bundle = written(tmp_path / "bundle")
    registry.add(bundle.folder, {})
    registry.set_alias("test", "champion", "1")
    for text in ("models:/test@champion", "models:/test/1"):
        folder = registry.imported(text, tmp_path / "imported")
        assert Bundle.load(folder).digest == bundle.digest


def test_a_logged_model_that_is_no_bundle_is_refused(
    registry: MlflowRegistry, client: Any, tmp_path: Path
) -> None:
    """What is missing, and what to do."""
    (tmp_path / "logged").mkdir()
    (tmp_path / "logged" / "model.pkl").write_bytes(b"\x80\x04.")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source=str(tmp_path / "logged"))
    with pytest.raises(BundleInvalid, match=r"no bundle\.toml beside a model\.onnx"):
        registry.imported("models:/theirs/1", tmp_path / "imported")


def test_our_tags_are_not_to_be_set(registry: MlflowRegistry, tmp_path: Path) -> None:
    """They say which model it is."""
    registry.add(written(tmp_path / "bundle").folder, {})
    with pytest.raises(BundleInvalid, match="Millstream's own"):
        registry.tag("test", "1", "millstream.digest", "x")
    with pytest.raises(BundleInvalid, match="Millstream's own"):
        registry.add(written(tmp_path / "b", version="2").folder, {"millstream.version": "x"})


def test_an_alias_that_mlflow_refuses_is_the_operators(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    """It keeps some names for itself."""
    registry.add(written(tmp_path / "bundle").folder, {})
    with pytest.raises(SettingsInvalid, match="MLflow at sqlite"):
        registry.set_alias("test", "latest", "1")


def test_a_server_takes_no_folder_as_an_address(mlflow_empty: str, tmp_path: Path) -> None:
    """MLflow refuses it: the operator must give a bucket."""
    registry = MlflowRegistry(mlflow_empty, str(tmp_path / "artifacts"))
    with pytest.raises(SettingsInvalid, match="local path"):
        registry.add(written(tmp_path / "bundle").folder, {})


def test_a_server_that_is_not_there_is_a_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens on that port."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    registry = MlflowRegistry(f"http://127.0.0.1:{port}", str(tmp_path / "artifacts"))
    with pytest.raises(DependencyUnavailable, match="MLflow"):
        registry.names()


def test_a_file_that_is_no_database_is_a_dependency(tmp_path: Path) -> None:
    """Nothing of SQLite's comes through."""
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DependencyUnavailable, match="MLflow"):
        MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path / "a")).names()
