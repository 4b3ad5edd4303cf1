"""The whole site, built as `make docs` builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from millstream.contract.refusals import REASONS
from ops.docs.commands import commands
from ops.docs.errors import kinds
from ops.docs.links import problems
from ops.docs.pages import ROOT
from ops.docs.runbook import entries


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; mkdocs had no warning."""
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3_000:]
    return folder


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(built: Path) -> None:
    """Anchors too, on every page."""
    assert problems(built) == []


def test_every_command_error_refusal_and_alert_has_its_page(built: Path) -> None:
    """And each is in the navigation of the first page."""
    pages = [each.page for each in commands()]
    pages += [f"errors/{kind.__name__}.md" for kind in kinds()]
    pages += [f"errors/refused/{reason.name}.md" for reason in REASONS]
    pages += [entry.page for entry in entries()]
    first = (built / "index.html").read_text("utf-8")
    for page in pages:
        html = page.removesuffix(".md") + ".html"
        assert (built / html).is_file(), page
        assert f'href="{html}"' in first, page


def test_pages_are_found_by_search(built: Path) -> None:
    """A word of a page that only the code makes."""
    index = (built / "search" / "search_index.json").read_text("utf-8")
    assert "verify_row_missing" in index
    assert "unknown_schema_id" in index
