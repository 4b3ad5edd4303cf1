"""The judge of links finds what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.docs.links import problems


def test_links_and_anchors_that_lead_somewhere_are_no_problem(tmp_path: Path) -> None:
    """Within a page, between folders, to files, elsewhere."""
    (tmp_path / "b").mkdir()
    (tmp_path / "f.txt").write_text("")
    (tmp_path / "b" / "index.html").write_text('<h2 id="y">y</h2><a href="../a.html#x">a</a>')
    (tmp_path / "a.html").write_text(
        '<h1 id="x">x</h1><a href="#x">x</a><a href="b/#y">b</a><a href="b/index.html">b</a>'
        '<a href="f.txt">f</a><a href="https://example.org">e</a><img src="f.txt">'
    )
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="gone.html">', "a.html: gone.html: there is no such file"),
        ('<a href="#gone">', "a.html: #gone: there is no such anchor"),
        ('<img src="gone.png">', "a.html: gone.png: there is no such file"),
        ('<script src="https://example.org/x.js">', "a.html loads https://example.org/x.js"),
        ('<link href="//example.org/x.css">', "a.html loads //example.org/x.css"),
    ],
)
def test_what_leads_nowhere_is_named(tmp_path: Path, html: str, said: str) -> None:
    """Each of these."""
    (tmp_path / "a.html").write_text(html)
    assert problems(tmp_path) == [said]
