"""Pages of the site, and where links lead in it."""

from __future__ import annotations

import pytest

from ops.docs.pages import Site, site, spaced

GOLDEN = "../schemas/golden"
FOREIGN = "[x](https://example.org/y) [z](#z)"


@pytest.mark.parametrize(
    ("page", "origin", "written", "shown"),
    [
        ("a.md", "docs/a.md", "[x](JOIN.md#y)", "[x](JOIN.md#y)"),
        ("site/a.md", "docs/site/a.md", "[x](../JOIN.md)", "[x](../JOIN.md)"),
        ("a.md", "docs/a.md", "[x](../README.md)", "[x](project.md)"),
        ("site/a.md", "docs/site/a.md", "[x](../../README.md#y)", "[x](../project.md#y)"),
        ("ARCHITECTURE.md", "ARCHITECTURE.md", "[x](docs/JOIN.md)", "[x](JOIN.md)"),
        ("a.md", "docs/a.md", "[`s`](../schemas/topics.toml)", "[`s`](files/schemas/topics.toml)"),
        ("a.md", "docs/a.md", f"[g]({GOLDEN}/README.md)", "[g](files/schemas/golden/about.md)"),
        ("a.md", "docs/a.md", f"[g]({GOLDEN})", "[g](files/schemas/golden/about.md)"),
        ("a.md", "docs/a.md", "[folder](../schemas)", "folder"),
        ("a.md", "docs/a.md", FOREIGN, FOREIGN),
        ("a.md", "docs/a.md", "[x](gone.md)", "[x](gone.md)"),
        ("a.md", "docs/a.md", "```\n[x](../README.md)\n```", "```\n[x](../README.md)\n```"),
    ],
)  # fmt: skip
def test_links_into_the_repository_lead_into_the_site(
    page: str, origin: str, written: str, shown: str
) -> None:
    """What is nowhere stays, so that mkdocs finds it."""
    assert Site(origins={page: origin}).markdown(page, written) == shown


def test_a_list_below_a_paragraph_is_a_list() -> None:
    """As GitHub shows it; code is left alone."""
    assert spaced("text:\n- a\n- b\n") == "text:\n\n- a\n- b\n"
    assert spaced("- a\n  more\n- b") == "- a\n  more\n- b"
    assert spaced("```\ntext\n- a\n```") == "```\ntext\n- a\n```"


def test_what_pages_link_to_comes_with_the_site() -> None:
    """Markdown as pages, other files as they are."""
    found = site()
    assert found.made["project.md"].startswith("# Millstream")
    assert "files/schemas/prediction.v2.avsc" in found.copies
    assert found.origins["files/examples/producers/about.md"] == "examples/producers/README.md"
    assert found.copies["files/examples/producers/python/publish.py"]
