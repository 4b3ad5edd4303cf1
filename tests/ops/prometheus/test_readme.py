"""The operator's steps in ops/prometheus/README.md."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from ops.docs.pages import ROOT
from tests.ops.prometheus.promtool import program

HERE = ROOT / "ops" / "prometheus"


def test_the_steps_end_with_a_configuration_that_finds_the_programs(tmp_path: Path) -> None:
    """As they stand, in a clone with one program that has left its file."""
    program("promtool")
    metrics = tmp_path / ".run" / "loans" / "metrics"
    metrics.mkdir(parents=True)
    entry = {"targets": ["127.0.0.1:9464"], "labels": {"instance": "loans/scorer/0"}}
    (metrics / "loans-scorer-0.json").write_text(json.dumps([entry]))
    (tmp_path / "ops").symlink_to(ROOT / "ops")
    (block,) = re.findall(r"^```sh\n(.*?)^```", (HERE / "README.md").read_text(), re.M | re.S)
    for _ in range(2):  # whoever repeats them gets the same
        run = subprocess.run(
            ["sh", "-ec", block], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "is valid prometheus config" in run.stdout
        assert "does not exist" not in run.stdout + run.stderr
