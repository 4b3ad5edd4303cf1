"""Random schemas, random records of them, and damage; all from one seed."""

from __future__ import annotations

import struct
from random import Random
from typing import Any, Final

_LOGICAL: Final = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "timestamp-nanos": "long",
    "local-timestamp-micros": "long",
    "uuid": "string",
}
_DAY: Final = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}
_PLAIN: Final = ["boolean", "int", "long", "float", "double", "string", "bytes", "null"]
_NAMED: Final = ["enum", "fixed", "decimal", "fixed decimal"]
_NESTED: Final = ["array", "map", "record"]
_LONGS: Final = [0, 1, -1, 63, -64, 64, 8191, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1]
_TEXTS: Final = ["", "a", "héé", "日本", "🜁", "x" * 15, "y" * 70, "\x00", "loan-000123"]


def schema(random: Random) -> dict[str, Any]:
    """A record of one to eight fields of any type, two levels deep at most."""
    return _record(random, 2, random.randint(1, 8))


def _name(random: Random) -> str:
    return f"n{random.getrandbits(64):016x}"


def _record(random: Random, depth: int, fields: int) -> dict[str, Any]:
    members = [{"name": f"f{i}", "type": _type(random, depth)} for i in range(fields)]
    return {"type": "record", "name": _name(random), "fields": members}


def _type(random: Random, depth: int) -> Any:
    if random.random() < 0.3:
        inner = _type(random, depth)
        while isinstance(inner, list) or inner == "null":
            inner = _type(random, depth)
        return ["null", inner] if random.random() < 0.5 else [inner, "null"]
    nested = _NESTED if depth else []
    kind = random.choice([*_PLAIN, *_LOGICAL, *_NAMED, *nested, *nested])
    made: Any = kind
    match kind:
        case "enum":
            symbols = [f"S{i}" for i in range(random.randint(1, 4))]
            made = {"type": kind, "name": _name(random), "symbols": symbols}
        case "fixed":
            made = {"type": kind, "name": _name(random), "size": random.choice([1, 4, 8, 16, 3])}
        case "decimal":
            digits = random.choice([1, 9, 18, 19, 38])
            made = {"type": "bytes", "logicalType": kind, "precision": digits, "scale": 1}
        case "fixed decimal":
            made = {"type": "fixed", "name": _name(random), "size": random.choice([1, 9, 16, 20])}
            made |= {"logicalType": "decimal", "precision": 2, "scale": 1}
        case "array":
            made = {"type": kind, "items": _taking_bytes(random, depth - 1)}
        case "map":
            made = {"type": kind, "values": _type(random, depth - 1)}
        case "record":
            made = _record(random, depth - 1, random.randint(1, 3))
        case _ if kind in _LOGICAL:
            made = {"type": _LOGICAL[kind], "logicalType": kind}
    return made


def _taking_bytes(random: Random, depth: int) -> Any:
    made = _type(random, depth)
    while not _takes_bytes(made):
        made = _type(random, depth)
    return made


def _takes_bytes(of: Any) -> bool:
    if isinstance(of, dict) and of["type"] == "record":
        return any(_takes_bytes(field["type"]) for field in of["fields"])
    return bool(of != "null")


def record(random: Random, of: Any) -> bytes:
    """A body of a type, good by construction."""
    if isinstance(of, list):
        branch = random.randrange(len(of))
        return varint(branch) + record(random, of[branch])
    kind = of if isinstance(of, str) else of["type"]
    logical = None if isinstance(of, str) else of.get("logicalType")
    if logical == "decimal":
        return _decimal(random, of)
    if kind == "record":
        return b"".join(record(random, field["type"]) for field in of["fields"])
    if kind in ("array", "map"):
        return _blocks(random, of)
    return _leaf(random, kind, logical, of)


def _leaf(random: Random, kind: str, logical: str | None, of: Any) -> bytes:
    made = b""  # null
    match kind:
        case "boolean":
            made = bytes([random.getrandbits(1)])
        case "int" | "long":
            made = varint(_long(random, kind, logical))
        case "float":
            made = struct.pack("<f", random.uniform(-1e6, 1e6))
        case "double":
            made = struct.pack("<d", random.uniform(-1e6, 1e6))
        case "string":
            made = _sized(random.choice(_TEXTS).encode())
        case "bytes":
            made = _sized(random.randbytes(random.randrange(9)))
        case "fixed":
            made = random.randbytes(of["size"])
        case "enum":
            made = varint(random.randrange(len(of["symbols"])))
    return made


def _decimal(random: Random, of: dict[str, Any]) -> bytes:
    size = of.get("size", random.choice([4, 4, 1, 20]))
    number = random.choice([1, -1]) * random.randrange(10 ** min(of["precision"], 2))
    return (b"" if "size" in of else varint(size)) + number.to_bytes(size, signed=True)


def _long(random: Random, kind: str, logical: str | None) -> int:
    if logical in _DAY:
        return random.randrange(_DAY[logical])
    value = random.choice(_LONGS) if random.random() < 0.5 else random.randrange(-(10**6), 10**6)
    return value if kind == "long" or -(2**31) <= value < 2**31 else 7


def _sized(raw: bytes) -> bytes:
    return varint(len(raw)) + raw


def _blocks(random: Random, of: dict[str, Any]) -> bytes:
    """An array or a map in one or two blocks, some with their size."""
    out = b""
    for _ in range(random.choice([0, 1, 1, 2])):
        count = random.randint(1, 3)
        inner = of.get("items", of.get("values"))
        items = b"".join(
            (_sized(f"k{random.randrange(5)}".encode()) if "values" in of else b"")
            + record(random, inner)
            for _ in range(count)
        )
        sized = random.random() < 0.3
        out += varint(-count) + varint(len(items)) if sized else varint(count)
        out += items
    return out + b"\x00"


def varint(value: int) -> bytes:
    """The shortest zigzag varint of a long."""
    zigzag = ((value << 1) ^ (value >> 63)) & (2**64 - 1)
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


_EXTREMES: Final = [
    *(varint(n) for n in (-1, -2, -(2**63), 2**31, 2**31 - 1, 2**32, 2**60, 2**62, 2**63 - 1)),
    b"\x80" * 9 + b"\x01",
    b"\x80" * 9 + b"\x02",
    b"\xff" * 11,
    b"\x82\x00",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",
]


def damage(random: Random, body: bytes, other: bytes) -> bytes:
    """Flip bits, cut, append, splice with another body, or put extreme bytes somewhere."""
    at = random.randrange(len(body) + 1)
    kind = random.randrange(6)
    if kind == 0 and body:
        flipped = bytearray(body)
        for _ in range(random.choice([1, 1, 2, 8])):
            flipped[random.randrange(len(body))] ^= 1 << random.randrange(8)
        return bytes(flipped)
    if kind == 1:
        return body[:at]
    if kind == 2:
        return body + random.randbytes(random.randint(1, 3))
    if kind == 3:
        return body[:at] + other[random.randrange(len(other) + 1) :]
    if kind == 4 and body:
        return body[:at] + random.randbytes(1) + body[at + 1 :]
    return body[:at] + random.choice(_EXTREMES) + body[at + random.randrange(2) :]
