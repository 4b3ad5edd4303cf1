"""Plain text as Markdown that shows it."""

from __future__ import annotations

import re


def escaped(text: str) -> str:
    """With what Markdown and HTML would take for their own made plain; `code` stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def cell(text: str) -> str:
    """The same in one line, for a cell of a table."""
    parts = re.split(r"(`[^`]*`)", escaped(" ".join(text.split())))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def _plain(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\*_\[\]])", r"\\\1", text)
