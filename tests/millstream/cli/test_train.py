"""`millstream train` and `millstream repro` as they are typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner, Result

pytest.importorskip("lightgbm", reason="install the extra train")

from consumers.models.registry import open_registry
from consumers.warehouse import Warehouse
from examples.loans.generate import loans, write
from millstream.cli.repro import repro
from millstream.cli.train import train
from millstream.errors import BundleInvalid, SettingsInvalid
from millstream.models.bundle import Bundle
from millstream.models.passport import read_passport, require_passport
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from millstream.training.rows import CannotTrain
from tests.consumers.answers import label
from tests.consumers.test_training_rows import store_events, stream_of
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve

EXAMPLE = Path(__file__).resolve().parent.parent.parent.parent / "examples" / "loans"
QUICK = ("--seconds", "0", "--family", "logistic_regression")


def typed(command: typer.models.CommandFunctionType, *arguments: str) -> Result:
    """The result of a command; what is the operator's is raised."""
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example's stream, and a file of 1,200 labelled applications."""
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copyfile(EXAMPLE / name, tmp_path / name)
    write(loans(1_200, seed=3), tmp_path / "rows.csv")
    return tmp_path


def trained(folder: Path, *more: str) -> Result:
    """Train on the file."""
    file = str(folder / "rows.csv")
    return typed(train, str(folder / "stream.toml"), "--from-file", file, *QUICK, *more)


def test_a_candidate_is_registered_with_its_passport_and_lineage(folder: Path) -> None:
    """Under its version; the registry's champion is what the next one is compared with."""
    result = trained(folder, "--version", "1")
    assert result.exit_code == 0, result.output
    assert "logistic_regression, best of 1 trials" in result.output
    registry = open_registry(Stream.load(folder / "stream.toml"))
    bundle = Bundle.load(registry.fetch(registry.find("loans", "1"), folder / "fetched"))
    passport = require_passport(bundle)
    assert passport is not None and passport.evaluation is not None
    assert passport.evaluation.rows == bundle.card.metrics["held_out_rows"] == 240
    lineage = passport.lineage
    assert lineage is not None
    assert (lineage.files[0].path, lineage.files[0].rows) == ("rows.csv", 1_200)
    assert {"family", "seed", "rows_hash", "version_numpy"} <= set(lineage.recipe)
    registry.set_alias("loans", "champion", "1")
    write(loans(1_500, seed=3), folder / "rows.csv")
    result = trained(folder, "--version", "2", "--report", str(folder / "r.json"))
    assert "than loans 1 on" in result.output
    told = json.loads((folder / "r.json").read_text())
    assert told["champion"]["name"] == "loans 1"
    assert told["measures"]["accuracy"] > 0.5


def test_a_model_made_again_is_the_same_or_what_differs_is_said(folder: Path) -> None:
    """Rows, and the file that they are of."""
    out = folder / "b"
    assert trained(folder, "--out", str(out), "--version", "7").exit_code == 0
    stream = ("--stream", str(folder / "stream.toml"))
    same = typed(repro, str(out), *stream)
    assert (same.exit_code, same.output.count("sha256:")) == (0, 2)
    assert "the same model" in same.output
    text = (folder / "rows.csv").read_text()
    (folder / "rows.csv").write_text("\n".join(text.splitlines()[:-1]) + "\n")
    other = typed(repro, str(out), *stream)
    assert other.exit_code == 1
    for said in ("differs: rows: then 1200, now 1199", "differs: file rows.csv: then sha256:"):
        assert said in other.output
    (folder / "rows.csv").unlink()
    with pytest.raises(CannotTrain, match="is not here"):
        typed(repro, str(out), *stream)


def test_a_recipe_that_differs_is_found_by_its_digest(folder: Path) -> None:
    """A passport that tells another seed does not make the same model."""
    out = folder / "b"
    more = ("--seconds", "0", "--family", "lightgbm", "--out", str(out), "--version", "1")
    file = str(folder / "rows.csv")
    typed(train, str(folder / "stream.toml"), "--from-file", file, *more)
    passport = out / "passport.json"
    told = json.loads(passport.read_text())
    told["lineage"]["recipe"]["choose_share"] = 0.25
    passport.write_text(json.dumps(told))
    other = typed(repro, str(out), "--stream", str(folder / "stream.toml"))
    assert other.exit_code == 1
    assert "every recorded input is the same" in other.output


def test_a_bundle_without_a_lineage_cannot_be_made_again(folder: Path) -> None:
    """It is said which can."""
    out = folder / "b"
    trained(folder, "--out", str(out), "--version", "1")
    (out / "passport.json").unlink()
    with pytest.raises(BundleInvalid, match="nothing says how loans 1 was made"):
        typed(repro, str(out), "--stream", str(folder / "stream.toml"))


def test_a_bundle_whose_lineage_has_no_recipe_cannot_be_made_again(folder: Path) -> None:
    """`millstream bundle make --training` knows the file alone."""
    out = folder / "b"
    trained(folder, "--out", str(out), "--version", "1")
    told = json.loads((out / "passport.json").read_text())
    told["lineage"]["recipe"] = {}
    (out / "passport.json").write_text(json.dumps(told))
    with pytest.raises(CannotTrain, match="no recipe that can be repeated"):
        typed(repro, str(out), "--stream", str(folder / "stream.toml"))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--family", "oracle"), "--family oracle is none"),
        (("--since", "2024-01-01"), "for rows from ClickHouse"),
        (("--label", "truth"), "has no column truth"),
        (("--champion", "loans@9"), "9"),
        (("--version", "a/b"), "version"),
        (("--report", "not-there/r.json"), "there is no folder not-there"),
    ],
)
def test_what_cannot_be_done_is_said(more: tuple[str, ...], problem: str, folder: Path) -> None:
    """Before anything is trained."""
    with pytest.raises((SettingsInvalid, CannotTrain, BundleInvalid), match=problem):
        trained(folder, *more)


def test_a_folder_that_holds_something_else_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is trained; the same version may be written there again."""
    out = folder / "out"
    assert trained(folder, "--version", "1", "--out", str(out)).exit_code == 0
    assert trained(folder, "--version", "1", "--out", str(out)).exit_code == 0
    monkeypatch.setattr("millstream.training.train.train", pytest.fail)
    with pytest.raises(BundleInvalid, match="already holds loans 1"):
        trained(folder, "--version", "2", "--out", str(out))
    (folder / "empty").mkdir()
    with pytest.raises(BundleInvalid, match="empty"):
        trained(folder, "--out", str(folder / "empty"))


def test_a_seed_that_no_generator_takes_is_refused(folder: Path) -> None:
    """As a wrong option, before any row is read."""
    result = trained(folder, "--seed", str(2**32))
    assert result.exit_code == 2
    assert "--seed" in result.output


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this file's own."""
    process, address = serve(tmp_path_factory.mktemp("train"))
    yield address
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


def test_rows_of_clickhouse_make_a_model_twice(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time by the query that the passport holds, though labels were corrected since."""
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_USERNAME", "default")
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_PASSWORD", PASSWORD)
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    stream = stream_of(tmp_path)
    warehouse = Warehouse.connect(settings)
    try:
        made = store_events(warehouse, stream, 400)
        truth: list[str | None] = ["yes" if i % 3 else "no" for i in range(400)]
        label(warehouse, stream, made, list(range(400)), truth=truth)
        out = str(tmp_path / "b")
        asked = (str(stream.path), *QUICK, "--out", out, "--warehouse", url, "--immature")
        result = typed(train, *asked, "--version", "1")
        assert result.exit_code == 0, result.output
        label(
            warehouse, stream, made, list(range(100)), first=400, version=2, status="corrected",
            truth=["no"] * 100, delay_s=900,
        )  # fmt: skip
        passport = read_passport(Bundle.load(tmp_path / "b"))
        assert passport is not None and passport.lineage is not None
        assert {each.topic for each in passport.lineage.offsets} == {
            stream.topic("events"), stream.topic("labelled"),
        }  # fmt: skip
        assert passport.evaluation is not None
        accuracy = passport.evaluation.metric("accuracy")
        assert accuracy is not None and accuracy.value == 1.0
        again = typed(repro, out, "--stream", str(stream.path), "--warehouse", url)
        assert again.exit_code == 0, again.output
        warehouse.command(
            f"ALTER TABLE {stream.name}.events DELETE WHERE kafka_offset < 50 "
            "SETTINGS mutations_sync = 1"
        )
        less = typed(repro, out, "--stream", str(stream.path), "--warehouse", url)
        assert less.exit_code == 1
        assert "differs: rows: then 400, now 350" in less.output
    finally:
        warehouse.close()
    assert np.isfinite(accuracy.low)
