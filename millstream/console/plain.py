"""What the console shows: values as JSON that a browser reads without loss, and errors' texts
without what addresses may keep secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, Final

WHOLE_MAX: Final = 2**53 - 1
"""Larger whole numbers are rounded by JavaScript: they go as text."""
TEXT_CHARS_MAX: Final = 4_000
STORES: Final = {"s3", "gs", "abfs", "file", "sqlite"}
"""Addresses of which the path says what is meant, and is no secret."""
_URL: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://(\S+)")
_PLACE: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]*\w)?(?::(?:\d+|PORT))?")
_USER: Final = re.compile(r"(?<![\w/:])[^\s/:@]+:[^\s/@]+@(?=[\w\[])")
"""USER:PASSWORD@ without a scheme before it."""


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


def without_secrets(text: str) -> str:
    """An error's text with each address cut to its scheme, host and port: a user, a password, a
    path and parameters may be in it. Of a bucket or a file the path stays.

    >>> without_secrets("http://me:pass@db:8123/x?password=pass: it does not answer")
    'http://db:8123: it does not answer'
    >>> without_secrets("me:pass@db:9092 is away; s3://key@bucket/models/1?token=2")
    'db:9092 is away; s3://bucket/models/1'
    """
    return _USER.sub("", _URL.sub(_bare, text))


def _bare(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2].rpartition("@")[2]
    end = rest[-1] if rest[-1:] in {":", ",", ";", ".", ")", "'", '"', "`"} else ""
    if scheme.lower() in STORES:
        path = re.split(r"[?#]", rest.removesuffix(end))[0]
        return f"{scheme}://{path}{end}"
    place = _PLACE.match(rest)
    return f"{scheme}://{place[0] if place else ''}{end}"
