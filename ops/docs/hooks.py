"""mkdocs' hooks: pages that the code makes, links into the repository, the order of the pages."""

from __future__ import annotations

from functools import cache
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from ops.docs.commands import commands
from ops.docs.errors import kinds
from ops.docs.pages import ROOT, Site, site
from ops.docs.runbook import entries

GUIDES = {
    "Scoring and releases": ["RELEASES.md", "MODELS.md", "JUDGING.md", "TRAINING.md"],
    "Labels and drift": ["JOIN.md", "WATCH.md", "RETRAINING.md"],
    "Running it": ["ALERTS.md", "METRICS.md", "FAULTS.md", "BENCHMARKS.md"],
}
"""The rest of docs/ follows under Further."""
USERS = ["site/producer.md", "site/downstream.md", "site/analyst.md", "site/operator.md"]


@cache
def _site() -> Site:
    return site()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation."""
    config.nav = nav()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages and files that are not in docs/."""
    found = _site()
    for page, text in found.made.items():
        files.append(File.generated(config, page, content=text))
    for place, origin in found.copies.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / origin)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Its text as the site shows it."""
    return _site().markdown(page.file.src_uri, markdown)


def nav() -> list[Any]:
    """What mkdocs.yml would say, had it a list of the commands."""
    named = {name for names in GUIDES.values() for name in names}
    others = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    further = [name for name in others if name not in named and name != "index.md"]
    guides = GUIDES | {"Further": [*further, "project.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]}
    return [
        "index.md",
        {"For you": USERS},
        *({title: pages} for title, pages in guides.items()),
        {"Reference": ["topics.md", "commands/index.md", "errors/index.md", "runbook/index.md"]},
        {"Commands": [each.page for each in commands()]},
        {"Errors": [f"errors/{kind.__name__}.md" for kind in kinds()]},
        {"Refused events": sorted(p for p in _site().made if p.startswith("errors/refused/"))},
        {"Alerts": [entry.page for entry in entries()]},
    ]
