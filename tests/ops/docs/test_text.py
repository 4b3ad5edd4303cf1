"""Text that Markdown shows as it is."""

from __future__ import annotations

import re
from html import unescape

import markdown  # type: ignore[import-untyped]
import pytest

from ops.docs.text import cell, escaped


@pytest.mark.parametrize(
    "text", ["a_b_c *x* [y](z)", "<b> & |", "`a_b|<c>` and _d_", "{name} 3 > 2", "no `tick"]
)
def test_text_is_shown_as_it_is(text: str) -> None:
    """Alone, and in a cell of a table."""
    plain = text.replace("`", "") if text.count("`") == 2 else text
    assert _shown(escaped(text)) == plain
    assert _shown(f"| a |\n|---|\n| {cell(text)} |").replace("a", "", 1).strip() == plain


def _shown(text: str) -> str:
    html = markdown.markdown(text, extensions=["tables"])
    return unescape(re.sub(r"<[^>]+>", "", html)).strip()
