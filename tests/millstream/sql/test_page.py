"""The cookbook in docs/SQL.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.contracts import topic_table
from millstream.sql.page import cookbook_page, renewed
from millstream.warehouse.table import keep_days_min

PAGE = Path(__file__).resolve().parents[3] / "docs" / "SQL.md"


def test_the_page_has_the_cookbook_of_today() -> None:
    """Else: python -m millstream.sql.page docs/SQL.md."""
    text = PAGE.read_text("utf-8")
    assert renewed(text) == text
    assert cookbook_page() in text


def test_the_page_names_every_table_and_how_long_it_is_kept_at_least() -> None:
    """As stream.toml is judged by."""
    text = PAGE.read_text("utf-8").partition("## Tables")[2].partition("## Views")[0]
    for topic in topic_table().values():
        if topic.table is None:
            continue
        (line,) = [x for x in text.splitlines() if x.startswith("|") and f"`{topic.table}`" in x]
        least = keep_days_min(topic)
        assert line.endswith("| for ever |" if least is None else f"| {least} days |"), line


def test_a_page_without_marks_is_refused() -> None:
    """Nothing is written somewhere."""
    with pytest.raises(ValueError, match="lacks"):
        renewed("no marks")
