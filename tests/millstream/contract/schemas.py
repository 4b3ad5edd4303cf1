"""An event schema with every kind of type, and a stream of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from millstream.stream import Stream

EVERYTHING: dict[str, Any] = {
    "type": "record",
    "name": "Everything",
    "namespace": "shop",
    "doc": "One of each.",
    "fields": [
        {"name": "number", "type": "long"},
        {"name": "key", "type": "string", "doc": "The Kafka key."},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "doc": "When."},
        {"name": "flag", "type": "boolean"},
        {"name": "count", "type": "int", "default": 3},
        {"name": "ratio", "type": ["null", "double"], "default": None},
        {"name": "share", "type": "float"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "clock", "type": ["null", {"type": "int", "logicalType": "time-millis"}]},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}},
        {"name": "other", "type": ["null", "Colour"], "default": None},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "token", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "raw", "type": "bytes"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "long"}},
        {
            "name": "place",
            "type": {
                "type": "record",
                "name": "Place",
                "namespace": "geo",
                "fields": [
                    {"name": "name", "type": "string"},
                    {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["a", "b"]}},
                    {"name": "again", "type": ["null", "K"], "default": None},
                ],
            },
        },
    ],
}
UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
TOML = """
name = "shop"
[event]
schema = "event.avsc"
key = "key"
id = "number"
time = "at"
[features]
order = ["ratio", "share", "flag", "colour", "count"]
categories = ["colour"]
[label]
kind = "regression"
[model]
bundle = "bundle"
"""


def shop(folder: Path) -> Stream:
    """The stream on disk; it has no bundle."""
    (folder / "event.avsc").write_text(json.dumps(EVERYTHING))
    (folder / "stream.toml").write_text(TOML)
    return Stream.load(folder / "stream.toml")


def everything(**values: Any) -> dict[str, Any]:
    """A record of it in JSON form, with these values in place of ordinary ones."""
    return {
        "number": 1, "key": "k", "at": 1_704_067_200_000, "flag": True, "count": -2, "ratio": 0.5,
        "share": 1.5, "day": 19_000, "clock": None, "colour": "blue", "other": "red",
        "hash": "\x00\x01\xfe\xff", "price": "\x01\x00", "token": UUID, "raw": "\x00\xff",
        "tags": ["a", "ü"], "counts": {"x": -1}, "place": {"name": "n", "kind": "b", "again": "a"},
    } | values  # fmt: skip
