"""Whether each link and anchor of a built site leads somewhere, and nothing is loaded from
elsewhere."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Element -> the attribute by which a browser loads something of its own accord."""


@dataclass(slots=True)
class _Seen:
    """Of one page. ids: of its elements. links: href of each <a>. loads: what a browser fetches."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen = _Seen()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ("id", "name"):
            if given.get(name):
                self.seen.ids.add(str(given[name]))
        if tag == "a" and given.get("href"):
            self.seen.links.append(str(given["href"]))
        if tag in LOADED and given.get(LOADED[tag]):
            self.seen.loads.append(str(given[LOADED[tag]]))


def problems(folder: Path) -> list[str]:
    """A line for each link, anchor or asset of the site in the folder that leads nowhere, and for
    each asset that is loaded from elsewhere."""
    pages = {
        path.relative_to(folder).as_posix(): _read(path) for path in sorted(folder.rglob("*.html"))
    }
    found = []
    for page, seen in pages.items():
        for link in seen.loads:
            if urlsplit(link).scheme or link.startswith("//"):
                found.append(f"{page} loads {link}")
        for link in [*seen.links, *seen.loads]:
            wrong = _wrong(folder, pages, page, link)
            if wrong:
                found.append(f"{page}: {link}: {wrong}")
    return found


def _read(path: Path) -> _Seen:
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    return reader.seen


def _wrong(folder: Path, pages: dict[str, _Seen], page: str, link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = page
    if parts.path:
        start = "" if parts.path.startswith("/") else posixpath.dirname(page)
        target = posixpath.normpath(posixpath.join(start, unquote(parts.path).lstrip("/")))
        if (folder / target).is_dir():
            target = posixpath.normpath(posixpath.join(target, "index.html"))
    if target not in pages:
        return "" if (folder / target).is_file() else "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and anchor not in pages[target].ids:
        return "there is no such anchor"
    return ""
