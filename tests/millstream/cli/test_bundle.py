"""`millstream bundle tune`, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

from millstream.models.bundle import write_bundle
from millstream.models.tuning import read_tuning, this_machine
from tests.millstream.cli.test_operator_errors import assert_operator_must_act, millstream
from tests.millstream.models.graphs import card, identity


def test_tune_keeps_the_curve_with_the_bundle(tmp_path: Path) -> None:
    """A table to read, tuning.json beside bundle.toml, and the same as JSON."""
    proto = identity()
    bundle = write_bundle(tmp_path / "bundle", proto.SerializeToString(), card(proto))
    quick = ("--seconds", "0.001", "--threads-max", "1")
    run = millstream("bundle", "tune", bundle.folder, *quick)
    assert run.returncode == 0, run.stderr
    assert "8,192" in run.stdout
    assert "0 of 2662 labels flipped" in run.stdout
    assert read_tuning(bundle, this_machine()) is not None
    run = millstream("bundle", "tune", bundle.folder, *quick, "--json")
    assert json.loads(run.stdout)["model_digest"] == bundle.digest


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    """The file that is missing, and what to do."""
    assert_operator_must_act(millstream("bundle", "tune", tmp_path), "bundle.toml is missing")
