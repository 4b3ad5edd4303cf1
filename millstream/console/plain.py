"""Values of ClickHouse as JSON that a browser reads without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, Final

WHOLE_MAX: Final = 2**53 - 1
"""Larger whole numbers are rounded by JavaScript: they go as text."""
TEXT_CHARS_MAX: Final = 4_000


def plain(value: Any) -> Any:
    """The value in JSON's types; long texts are cut, and say so.

    >>> plain({"n": 2**60, "x": float("nan"), "b": b"ab", "t": (1, None)})
    {'n': '1152921504606846976', 'x': None, 'b': '6162', 't': [1, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool):
        return value
    return _one(value)


def plain_object(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`plain` of an object."""
    return {name: plain(one) for name, one in fields.items()}


def _one(value: Any) -> Any:
    match value:
        case int():
            return value if abs(value) <= WHOLE_MAX else str(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return cut(value.hex())
        case datetime() | date() | time():
            return value.isoformat()
    return cut(str(value))


def cut(text: str) -> str:
    """The text, up to TEXT_CHARS_MAX of it."""
    if len(text) <= TEXT_CHARS_MAX:
        return text
    return f"{text[:TEXT_CHARS_MAX]}... ({len(text):,} characters)"
