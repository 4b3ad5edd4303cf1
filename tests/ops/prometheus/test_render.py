"""The files that Prometheus reads, by Prometheus's own checks."""

from __future__ import annotations

from pathlib import Path

import yaml  # type: ignore[import-untyped]

from ops.prometheus.render import prometheus_yaml, rules_yaml
from ops.prometheus.rules import ALERTS, RECORDED, Alert
from tests.ops.prometheus.promtool import promtool


def test_promtool_finds_no_fault_with_the_rules(tmp_path: Path) -> None:
    """All of them, with their templates."""
    (tmp_path / "rules.yml").write_text(rules_yaml(), "utf-8")
    said = promtool("check", "rules", tmp_path / "rules.yml")
    assert f"{len(ALERTS) + len(RECORDED)} rules found" in said


def test_promtool_finds_no_fault_with_the_configuration(tmp_path: Path) -> None:
    """With its rules beside it."""
    (tmp_path / "alerts.yml").write_text(rules_yaml(), "utf-8")
    (tmp_path / "prometheus.yml").write_text(prometheus_yaml(), "utf-8")
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_whatever_a_text_holds_stands_in_the_file() -> None:
    """Quotes, colons, hashes, braces and letters of any alphabet."""
    odd = Alert("Odd", 'up{a="b\\"c"} == 1', "1m", "page", "a: #b '{{ $value }}' é", 'do "x": \\')
    (read,) = yaml.safe_load(rules_yaml([odd], []))["groups"][1]["rules"]
    assert read["expr"] == odd.expr
    assert read["annotations"]["summary"] == odd.summary
    assert read["annotations"]["act"] == odd.act
    assert (read["for"], read["labels"]) == ("1m", {"severity": "page"})
