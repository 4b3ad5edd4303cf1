"""JSON values as YAML that people read: block style, every text in double quotes.

A double-quoted JSON text is a YAML text too, so no value can be taken for another type.
Source: YAML 1.2.2, section 7.3.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][\w.$-]*", re.ASCII)
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_WORDS: Final = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def to_yaml(value: Any) -> str:
    """The document, ending in a line feed. value: what json.dumps takes, all keys texts."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _entry(f"{_key(key)}:", each)
    elif isinstance(value, list) and value:
        for each in value:
            nested = list(_lines(each))
            yield f"- {nested[0]}"
            yield from (f"  {line}" for line in nested[1:])
    else:
        yield _scalar(value)


def _entry(key: str, value: Any) -> Iterator[str]:
    lines = list(_lines(value))
    if isinstance(value, dict | list) and value:
        yield key
        yield from (f"  {line}" for line in lines)
    else:
        yield f"{key} {lines[0]}"


def _key(text: str) -> str:
    plain = _PLAIN_KEY.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else _scalar(text)


def _scalar(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # readers of YAML 1.1 want a point in a number
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
