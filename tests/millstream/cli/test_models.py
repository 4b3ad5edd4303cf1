"""`millstream models`, as a person runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from millstream.cli import app
from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models.bundle import Bundle
from tests.consumers.warehouses import stream_in
from tests.millstream.cli.test_operator_errors import assert_operator_must_act, millstream
from tests.millstream.models.graphs import one_node, written

Run = Callable[..., Result]


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A stream.toml that says nothing of a registry."""
    return stream_in(tmp_path, "loans").path


@pytest.fixture
def run() -> Run:
    """Runs the command in this process; what it raises comes through."""
    return lambda *words: CliRunner().invoke(
        app, ["models", *map(str, words)], catch_exceptions=False, standalone_mode=False
    )


def _says(result: Result, *words: str) -> None:
    assert result.exception is None, result.exception
    for word in words:
        assert word in result.output


def test_a_version_is_added_listed_shown_named_and_fetched(
    run: Run, stream: Path, tmp_path: Path
) -> None:
    """The whole life of one, by the words that --help shows."""
    bundle = written(tmp_path / "bundle", name="loans", version="3")
    _says(run("list", stream), "millstream models add")
    added = run("add", stream, bundle.folder, "--tag", "by=me", "--alias", "challenger")
    _says(added, "loans@3", bundle.digest, "added", "loans@challenger is 3 now")
    _says(run("add", stream, bundle.folder), "was registered before")
    _says(run("list", stream), "loans", "challenger", "by=me", bundle.digest[7:19])
    (row,) = json.loads(run("list", stream, "loans", "--json").output)
    assert row["aliases"] == ["challenger"]
    assert row["tags"] == {"by": "me"}
    shown = run("show", stream, "loans@challenger")
    _says(shown, bundle.digest, "aliases     challenger", "tag by = me")
    assert json.loads(run("show", stream, "loans@3", "--json").output) == row
    _says(run("alias", stream, "loans@3", "champion"), "loans@champion is 3 now\n")
    second = written(tmp_path / "second", name="loans", version="4")
    run("add", stream, second.folder)
    _says(run("alias", stream, "loans@4", "champion"), "loans@champion is 4 now (it was 3)")
    fetched = run("fetch", stream, "models:/loans@champion", tmp_path / "cache")
    folder = Path(fetched.output.strip().splitlines()[-1])
    assert Bundle.load(folder).version == "4"


def test_a_model_of_mlflow_is_imported(
    run: Run, stream: Path, tmp_path: Path, mlflow_url: str, mlflow_empty: str, s3_address: str
) -> None:
    """From a server into the stream's folder, by its alias."""
    from consumers.models.mlflow_registry import MlflowRegistry

    theirs = MlflowRegistry(mlflow_empty, s3_address)
    bundle = written(tmp_path / "bundle", name="loans", version="7")
    theirs.add(bundle.folder, {})
    theirs.set_alias("loans", "champion", "7")
    result = run("add", stream, "models:/loans@champion", "--mlflow", mlflow_url)
    _says(result, "loans@7", bundle.digest, "added")
    with pytest.raises(SettingsInvalid, match="--mlflow"):
        run("add", stream, "models:/loans@champion")


def test_adding_looks_at_one_version_only(run: Run, stream: Path, tmp_path: Path) -> None:
    """Another one that is damaged is in nobody's way."""
    run("add", stream, written(tmp_path / "a", version="1").folder)
    (stream.parent / "models" / "test" / "versions" / "1" / "entry.json").write_text("{")
    _says(run("add", stream, written(tmp_path / "b", version="2").folder), "test@2", "added")
    _says(run("add", stream, tmp_path / "b"), "was registered before")


def test_another_model_of_the_same_version_is_refused(
    run: Run, stream: Path, tmp_path: Path
) -> None:
    """And a tag without a value."""
    run("add", stream, written(tmp_path / "a").folder)
    other = written(tmp_path / "b", one_node("Neg")())
    with pytest.raises(BundleInvalid, match="registered with"):
        run("add", stream, other.folder)
    with pytest.raises(SettingsInvalid, match="KEY=VALUE"):
        run("add", stream, other.folder, "--tag", "by")


def test_an_unknown_model_is_two_lines_for_the_operator(stream: Path) -> None:
    """What is missing, and what there is."""
    run = millstream("models", "show", stream, "loans@9")
    assert_operator_must_act(run, "no model loans@9", "It has no loans at all")


@pytest.mark.parametrize("command", ["add", "list", "show", "alias", "fetch"])
def test_each_command_has_help_with_an_example(run: Run, command: str) -> None:
    """Like all commands."""
    _says(run(command, "--help"), f"Example: millstream models {command} ")
