"""Which Markdown files the site has, and where links to files of the repository lead in it.

A file of the repository that a page links to comes with the site, below files/: Markdown as a page,
anything else as it is. A link to a folder leads to its README.md, or becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.docs.commands import command_pages
from ops.docs.errors import error_pages
from ops.docs.runbook import runbook_pages
from ops.docs.topics import topic_page

ROOT: Final = Path(__file__).resolve().parents[2]
AT_THE_TOP: Final = {
    "README.md": "project.md",
    "ARCHITECTURE.md": "ARCHITECTURE.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
}
"""File of the repository outside of docs/ -> its page."""
_LINK: Final = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_LIST: Final = re.compile(r"^(\s*)([-*]|\d+[.)])\s")
_FOREIGN: Final = re.compile(r"[a-z][a-z0-9+.-]*:|#|//")


@dataclass(slots=True)
class Site:
    """made: page -> Markdown of those that no file has. origins: page -> its file in the
    repository. copies: file in the site -> file in the repository."""

    made: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def markdown(self, page: str, text: str) -> str:
        """The page's text as the site shows it: links rewritten, lists set apart."""
        origin = self.origins.get(page)
        if origin is not None:
            text = outside_code(text, lambda part: self._relinked(page, origin, part))
        return spaced(text)

    def _relinked(self, page: str, origin: str, text: str) -> str:
        def one(found: re.Match[str]) -> str:
            mark, shown, target = found.groups()
            if _FOREIGN.match(target):
                return found[0]
            path, hash_, anchor = target.partition("#")
            wanted = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
            place = self.place_of(wanted)
            if place is None:
                return shown if (ROOT / wanted).is_dir() else found[0]
            link = posixpath.relpath(place, posixpath.dirname(page) or ".")
            return f"{mark}[{shown}]({link}{hash_}{anchor})"

        return _LINK.sub(one, text)

    def place_of(self, path: str) -> str | None:
        """Where a file of the repository is in the site; None where it is not."""
        if path.startswith("docs/"):
            return path.removeprefix("docs/") if (ROOT / path).is_file() else None
        if path in AT_THE_TOP:
            return AT_THE_TOP[path]
        if (ROOT / path / "README.md").is_file():
            path = f"{path}/README.md"
        if not (ROOT / path).is_file():
            return None
        # a README would be taken for the folder's index
        return "files/" + path.replace("README.md", "about.md")


def site() -> Site:
    """Every page and file but those in docs/ that no page of ours is made of."""
    found = Site(made={**command_pages(), **error_pages(), **runbook_pages()})
    found.made["topics.md"] = topic_page()
    todo = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    todo += list(AT_THE_TOP)
    while todo:
        origin = todo.pop()
        page = found.place_of(origin)
        if page is None or page in found.origins or page in found.copies:
            continue
        if not origin.endswith(".md"):
            if not origin.startswith("docs/"):
                found.copies[page] = origin
            continue
        text = (ROOT / origin).read_text("utf-8")
        found.origins[page] = origin
        if not origin.startswith("docs/"):
            found.made[page] = text
        todo += _linked(origin, text)
    return found


def _linked(origin: str, text: str) -> list[str]:
    """Files of the repository that the text links to."""
    found: list[str] = []

    def note(part: str) -> str:
        for _, _, target in _LINK.findall(part):
            if not _FOREIGN.match(target):
                path = target.partition("#")[0]
                wanted = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
                if (ROOT / wanted).is_dir():
                    wanted = f"{wanted}/README.md"
                found.append(wanted)
        return part

    outside_code(text, note)
    return found


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with everything outside of fences and `code` changed."""
    lines, fenced = [], False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            # a link may have code for its text, so only code without a link around it is kept
            line = change(line)  # noqa: PLW2901 - the line as it is to be
        lines.append(line)
    return "\n".join(lines)


def spaced(text: str) -> str:
    """With a blank line before each list, which GitHub's Markdown does not ask for."""
    lines: list[str] = []
    fenced = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        before = lines[-1] if lines else ""
        starts = _LIST.match(line)
        if (
            not fenced
            and starts is not None
            and before.strip()
            and not _LIST.match(before)
            and not starts[1]
            and not before.startswith((" ", "|", "#"))
        ):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
