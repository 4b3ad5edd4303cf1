"""The pages of the alerts."""

from __future__ import annotations

import ast
from typing import get_args

import yaml  # type: ignore[import-untyped]

from consumers.releases.log import RULE as NOT_LOADED
from millstream.alerts.rules import (
    BurnRateRule,
    DetectorRule,
    LagRule,
    MissingLabelsRule,
    ThresholdRule,
)
from millstream.audit.ledger import Kind
from millstream.drift.verdict import Verdict
from millstream.judging.alarms import RULE as ROLLED_BACK
from ops.docs.pages import ROOT
from ops.docs.runbook import RULES, VERDICTS, VERIFY, entries, runbook_pages


def test_every_alert_of_prometheus_has_a_page() -> None:
    """Those of the file that Prometheus reads."""
    groups = yaml.safe_load((ROOT / "ops" / "prometheus" / "alerts.yml").read_text("utf-8"))[
        "groups"
    ]
    names = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert names
    assert names <= {entry.name for entry in entries()}


def test_every_finding_verdict_and_kind_of_rule_has_a_page() -> None:
    """A new one must be told what to do."""
    assert set(VERIFY) == set(Kind)
    assert set(VERDICTS) == set(Verdict)
    rules = (ThresholdRule, LagRule, MissingLabelsRule, BurnRateRule, DetectorRule)
    kinds = {get_args(rule.model_fields["kind"].annotation)[0] for rule in rules}
    assert set(RULES) == kinds | {"not_evaluated"}
    assert {NOT_LOADED, ROLLED_BACK} <= {entry.name for entry in entries()}


def rules() -> set[str]:
    """Each module's RULE, and each text that is given to an Alarm as its rule."""
    found = set()
    for folder in ("millstream", "consumers", "streams"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                given: ast.expr | None = None
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RULE":
                    given = node.value
                elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Alarm"):
                    given = next((k.value for k in node.keywords if k.arg == "rule"), None)
                if isinstance(given, ast.Constant):
                    found.add(str(given.value))
    return found


def test_every_rule_that_a_program_names_has_a_page() -> None:
    """But for that of `millstream alerts test`, which says of itself that it is none."""
    assert rules() > {NOT_LOADED, ROLLED_BACK}
    assert rules() - {entry.name for entry in entries()} == {"test"}


def test_every_page_says_what_to_do() -> None:
    """And the index leads to each."""
    pages = runbook_pages()
    assert len(pages) == len(entries()) + 1
    for entry in entries():
        text = pages[entry.page].partition("## What to do")[2]
        assert len(text.strip()) > 20, entry.name
        assert f"]({entry.name}.md)" in pages["runbook/index.md"]
