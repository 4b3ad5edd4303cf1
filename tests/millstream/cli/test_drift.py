"""`millstream drift calibrate` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from consumers.warehouse import Warehouse
from millstream.cli.drift import app
from millstream.errors import MillstreamError, OperatorNeeded, SettingsInvalid
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from tests.consumers.answers import Made, label, store
from tests.consumers.warehouses import PASSWORD, READY_S_MAX, serve
from tests.millstream.drift.errors import independent

FEW = ["--runs", "2", "--shift", "0.3"]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """3,000 events, one a minute, a tenth of them wrong."""
    wrong = independent(0.1, 3_000, 1)
    frame = pd.DataFrame(
        {
            "error": wrong,
            "label": np.where(wrong, "no", "yes"),
            "predicted": "yes",
            "at": pd.date_range("2024-01-01", periods=len(wrong), freq="min"),
        }
    )
    path = tmp_path / "history.csv"
    frame.to_csv(path, index=False)
    frame.to_parquet(tmp_path / "history.parquet")
    return path


def told(*arguments: str) -> dict[str, object]:
    """What --json says."""
    run = CliRunner().invoke(app, ["calibrate", *arguments, *FEW, "--json"], catch_exceptions=False)
    assert run.exit_code == 0
    found: dict[str, object] = json.loads(run.stdout)
    return found


def test_errors_and_labels_of_csv_and_parquet_say_the_same(history: Path) -> None:
    """One event a minute is 10,080 a week, but for the last one."""
    one = told(str(history), "--time", "at")
    assert one["events"] == 3_000
    assert one["events_per_week"] == pytest.approx(10_080, rel=1e-3)
    labels = ("--label", "label", "--predicted", "predicted", "--time", "at")
    assert told(str(history), *labels) == one
    assert told(str(history.with_suffix(".parquet")), "--time", "at") == one


def test_a_table_and_a_picture_are_shown(history: Path, tmp_path: Path) -> None:
    """With the false alarms a week and a line for each shift."""
    out = tmp_path / "drift.svg"
    arguments = ["calibrate", str(history), "--events-per-week", "20000", "--out", str(out), *FEW]
    run = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert run.exit_code == 0
    assert "false alarms a week:" in run.stdout
    assert "+30 points" in run.stdout
    assert out.read_text("utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "why", "remedy"),
    [
        ([], "events a week", "--events-per-week"),
        (["--error", "mistakes", "--time", "at"], "no column mistakes", "It has error"),
        (["--label", "label"], "go together", "Give both"),
        (["--error", "label", "--time", "at"], "history.csv", "column of numbers"),
        (["--time", "label"], "neither times nor numbers", "ISO 8601"),
    ],
)
def test_what_is_missing_is_said(
    history: Path, arguments: list[str], why: str, remedy: str
) -> None:
    """In one line, with what to do in the next."""
    with pytest.raises(SettingsInvalid) as caught:
        CliRunner().invoke(app, ["calibrate", str(history), *arguments], catch_exceptions=False)
    assert why in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """A missing one, one that is no CSV, one too short."""
    short = tmp_path / "short.csv"
    short.write_text("error\n0\n1\n", "utf-8")
    for path in (tmp_path / "none.csv", short):
        arguments = ["calibrate", str(path), "--events-per-week", "100"]
        with pytest.raises(OperatorNeeded) as caught:
            CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert isinstance(caught.value, MillstreamError)
        assert path.name in caught.value.problem


_TOML = """\
name = "played"
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
false_alarms_per_week = 2
slices = ["region"]
"""
_FIELDS = [
    {"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "n", "type": "int"},
    {"name": "region", "type": "string"},
]


def test_a_stream_is_read_from_clickhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labelled rows as they hold now, one a second; the budget is that of stream.toml."""
    schema = {"type": "record", "name": "E", "fields": _FIELDS}
    (tmp_path / "e.avsc").write_text(json.dumps(schema), "utf-8")
    (tmp_path / "stream.toml").write_text(_TOML, "utf-8")
    stream = Stream.load(tmp_path / "stream.toml")
    wrong = independent(0.2, 1_500, 2).astype(bool)
    chances = np.full(len(wrong), 0.9)
    (tmp_path / "clickhouse").mkdir()
    process, url = serve(tmp_path / "clickhouse")
    try:
        settings = WarehouseSettings(url=url, username="default", password=SecretStr(PASSWORD))
        warehouse = Warehouse.connect(settings)
        made = Made(chances, ~wrong, ["north"] * len(wrong))
        store(warehouse, stream, made)
        label(warehouse, stream, made, list(range(len(wrong))))
        label(warehouse, stream, made, [0], first=len(wrong), version=2, status="corrected")
        warehouse.close()
        monkeypatch.setenv("MILLSTREAM_WAREHOUSE_USERNAME", "default")
        monkeypatch.setenv("MILLSTREAM_WAREHOUSE_PASSWORD", PASSWORD)
        found = told(str(stream.path), "--warehouse", url)
    finally:
        process.terminate()
        assert process.wait(READY_S_MAX) == 0
    assert found["events"] == 1_500
    assert found["error_rate"] == pytest.approx(wrong.mean())
    assert found["events_per_week"] == pytest.approx(604_800, rel=1e-2)
    assert found["run_events"] == pytest.approx(302_400, rel=1e-2)
