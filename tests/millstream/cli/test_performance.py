"""`millstream performance` as it is typed, on a real ClickHouse."""

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

from consumers.warehouse import Warehouse
from millstream.cli.performance import performance
from millstream.errors import SettingsInvalid
from millstream.models.bundle import Bundle
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from tests.consumers.answers import Made, label, make, store
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve
from tests.streams import make_loans

app = typer.Typer()
app.command()(performance)
_TOML = """\
name = "{name}"
[event]
schema = "e.avsc"
key = "id"
id = "id"
time = "at"
[features]
order = ["n"]
[label]
kind = "binary"
[model]
bundle = "bundle"
[watch]
slices = ["region"]
[fairness]
groups = ["region"]
"""
_EVENT = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "n", "type": "int"},
        {"name": "region", "type": "string"},
    ],
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this file's own."""
    process, found = serve(tmp_path_factory.mktemp("clickhouse"))
    yield found
    process.terminate()
    assert process.wait(READY_S_MAX) == 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose labels are 0 and 1."""
    folder = tmp_path_factory.mktemp("loans")
    make_loans(folder, trees=2)
    return folder / "bundle"


def _stream(folder: Path, bundle: Path, name: str) -> Stream:
    (folder / "e.avsc").write_text(json.dumps(_EVENT))
    (folder / "stream.toml").write_text(_TOML.format(name=name))
    shutil.copytree(bundle, folder / "bundle")
    return Stream.load(folder / "stream.toml")


def _run(monkeypatch: pytest.MonkeyPatch, url: str, stream: Stream, *options: str) -> Result:
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_USERNAME", "default")
    monkeypatch.setenv("MILLSTREAM_WAREHOUSE_PASSWORD", PASSWORD)
    return CliRunner().invoke(app, [str(stream.path), "--warehouse", url, *options])


def _filled(url: str, stream: Stream, made: Made) -> None:
    settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
    warehouse = Warehouse.connect(settings)
    labels = Bundle.load(stream.bundle_path).card.labels
    store(warehouse, stream, made, labels=labels)
    label(warehouse, stream, made, list(range(len(made.region))), labels=labels)
    warehouse.close()


def test_tables_and_json_say_the_same(
    monkeypatch: pytest.MonkeyPatch, url: str, bundle: Path, tmp_path: Path
) -> None:
    """Realised and estimated, by version, window and slice; 0 as no alarm holds."""
    stream = _stream(tmp_path, bundle, "calm")
    _filled(url, stream, make(2_000))
    ran = _run(monkeypatch, url, stream, "--window", "10m")
    assert ran.exit_code == 0, ran.output
    told = json.loads(_run(monkeypatch, url, stream, "--window", "10m", "--json").stdout)
    (version,) = told["versions"]
    assert version["labels"] == 2_000
    assert len(told["windows"]) == 4
    assert f"{version['realised']['accuracy']:.3f}" in ran.output
    assert abs(version["gap"]) < version["bound"]
    assert {tuple(cell["slice"]) for cell in told["slices"]} == {
        ("region", "north"),
        ("region", "south"),
    }
    assert told["alarms"] == []


def test_an_unfair_stream_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, url: str, bundle: Path, tmp_path: Path
) -> None:
    """And names the group and the limit."""
    stream = _stream(tmp_path, bundle, "unfair")
    made = make(1_000)
    north = np.array(made.region) == "north"
    chances = np.where(north, np.minimum(made.chances, 0.3), made.chances)
    _filled(url, stream, Made(chances, made.truth, made.region))
    ran = _run(monkeypatch, url, stream)
    assert ran.exit_code == 1
    assert "ALARM fairness: m 1: parity of region = north against south" in ran.output


def test_labels_worse_than_the_estimate_end_with_1(
    monkeypatch: pytest.MonkeyPatch, url: str, bundle: Path, tmp_path: Path
) -> None:
    """The rule changed in the middle: the estimate says that it is not to be trusted."""
    stream = _stream(tmp_path, bundle, "changed")
    made = make(4_000)
    truth = np.asarray(made.truth).copy()
    truth[3_800:] = np.asarray(made.chances)[3_800:] < 0.5
    _filled(url, stream, Made(made.chances, truth, made.region))
    ran = _run(monkeypatch, url, stream)
    assert ran.exit_code == 1
    assert "ALARM estimate: m 1: the newest 250 matured labels came out -" in ran.output
    assert "not trusted: m 1 (all): the newest 250 matured labels came out -" in ran.output


@pytest.mark.parametrize("width", ["1", "h", "0h", "1 h", "1y", "-1h"])
def test_what_is_no_width_is_named(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path, width: str
) -> None:
    """With the forms that are."""
    stream = _stream(tmp_path, bundle, "widths")
    ran = _run(monkeypatch, "http://127.0.0.1:1", stream, f"--window={width}")
    assert isinstance(ran.exception, SettingsInvalid)
    assert "s, m, h, d or w" in ran.exception.remedy


def test_what_is_no_time_is_named(
    monkeypatch: pytest.MonkeyPatch, bundle: Path, tmp_path: Path
) -> None:
    """With its option."""
    stream = _stream(tmp_path, bundle, "times")
    ran = _run(monkeypatch, "http://127.0.0.1:1", stream, "--until", "tomorrow")
    assert isinstance(ran.exception, SettingsInvalid)
    assert "--until tomorrow is no ISO 8601 time" in ran.exception.problem
