"""Avro values as plain JSON, and back to Avro's bytes.

The JSON form is that of schemas/golden: integers and times as whole numbers of their unit, bytes
and fixed as text with a character U+0000 to U+00FF for each byte (as Avro's own JSON encoding has
them), unions without a tag, NaN and the infinities as the texts NaN, Infinity and -Infinity, which
JSON has no numbers for.

Source: Apache Avro 1.12 specification, "Binary encoding" and "JSON encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

NOT_FINITE: Final = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_PRIMITIVES: Final = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
_INT_BITS: Final = {"int": 31, "long": 63}
_FLOATS: Final = {"float": "<f", "double": "<d"}


class NotOfTheSchema(ValueError):
    """A value that its schema does not allow; the text names the field."""


@dataclass(slots=True)
class Names:
    """Named types of one schema by full name, as JSON, filled while the schema is walked."""

    known: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def resolve(self, spec: Any, namespace: str) -> tuple[Any, str]:
        """A type, itself where it is given by its name, and the namespace of its own parts."""
        if isinstance(spec, str) and spec not in _PRIMITIVES:
            return self.known[self.full(spec, namespace)]
        if isinstance(spec, dict) and "name" in spec:
            full = self.full(spec["name"], spec.get("namespace") or namespace)
            return spec, full.rpartition(".")[0]
        return spec, namespace

    def full(self, name: str, namespace: str) -> str:
        """The name with its namespace."""
        return name if "." in name or not namespace else f"{namespace}.{name}"

    def learn(self, spec: Any, namespace: str) -> None:
        """Every named type inside, with the namespace that it gives its own parts."""
        if isinstance(spec, list):
            for branch in spec:
                self.learn(branch, namespace)
        elif isinstance(spec, dict):
            if "name" in spec:
                full = self.full(spec["name"], spec.get("namespace") or namespace)
                namespace = full.rpartition(".")[0]
                self.known[full] = (spec, namespace)
            for part in ("items", "values"):
                if part in spec:
                    self.learn(spec[part], namespace)
            if isinstance(spec.get("type"), dict | list):
                self.learn(spec["type"], namespace)
            for each in spec.get("fields", ()):
                self.learn(each["type"], namespace)


def long_bytes(value: int) -> bytes:
    """An int or long as Avro writes it: zigzag, then seven bits a byte.

    >>> long_bytes(-1), long_bytes(64)
    (b'\\x01', b'\\x80\\x01')
    """
    zigzag = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


class JsonWriter:
    """Records in JSON form to Avro bodies of one schema, given as parsed JSON."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._names = Names()
        self._names.learn(schema, "")
        self._space = self._names.resolve(schema, "")[1]
        self._fields = {each["name"]: each for each in schema["fields"]}

    def body(self, record: dict[str, Any]) -> bytes:
        """The Avro body. Raises NotOfTheSchema, naming the field."""
        return b"".join(self.parts(record).values())

    def parts(self, record: dict[str, Any]) -> dict[str, bytes]:
        """The same, field by field, in order. A field left out has its default."""
        surplus = sorted(set(record) - set(self._fields))
        if surplus:
            raise NotOfTheSchema(f"{surplus[0]} is no field of {self._schema['name']}")
        made = {}
        for name, each in self._fields.items():
            value = record[name] if name in record else _default(each)
            made[name] = self._value(each["type"], value, name, self._space)
        return made

    def _value(self, spec: Any, value: Any, path: str, space: str) -> bytes:
        spec, space = self._names.resolve(spec, space)
        if isinstance(spec, list):
            return self._union(spec, value, path, space)
        kind = spec if isinstance(spec, str) else spec["type"]
        if isinstance(kind, dict | list):
            return self._value(kind, value, path, space)
        if kind in _WRITES:
            return _WRITES[kind](kind, value, path)
        return self._complex(kind, spec, value, path, space)

    def _complex(self, kind: str, spec: dict[str, Any], value: Any, path: str, space: str) -> bytes:
        wrong = NotOfTheSchema(f"field {path} is no {kind} of its schema")
        if kind == "enum":
            if value not in spec["symbols"]:
                raise wrong
            return long_bytes(spec["symbols"].index(value))
        if kind == "fixed":
            raw = _raw(kind, value, path)
            if len(raw) != spec["size"]:
                raise wrong
            return raw
        if kind == "array":
            if not isinstance(value, list):
                raise wrong
            items = [self._value(spec["items"], each, f"{path}[]", space) for each in value]
        elif kind == "map":
            if not isinstance(value, dict):
                raise wrong
            items = [
                _string("string", key, path)
                + self._value(spec["values"], each, f"{path}.{key}", space)
                for key, each in value.items()
            ]
        else:
            return self._record(spec, value, path, space)
        return (long_bytes(len(items)) + b"".join(items) if items else b"") + b"\x00"

    def _record(self, spec: dict[str, Any], value: Any, path: str, space: str) -> bytes:
        if not isinstance(value, dict) or set(value) - {f["name"] for f in spec["fields"]}:
            raise NotOfTheSchema(f"field {path} is no {spec['name']}")
        return b"".join(
            self._value(
                each["type"],
                value[each["name"]] if each["name"] in value else _default(each, path),
                f"{path}.{each['name']}",
                space,
            )
            for each in spec["fields"]
        )

    def _union(self, spec: list[Any], value: Any, path: str, space: str) -> bytes:
        for index, branch in enumerate(spec):
            try:
                return long_bytes(index) + self._value(branch, value, path, space)
            except NotOfTheSchema:
                continue
        raise NotOfTheSchema(f"field {path} is none of the types that its schema allows")


def _default(each: dict[str, Any], path: str = "") -> Any:
    if "default" not in each:
        raise NotOfTheSchema(f"field {path + '.' if path else ''}{each['name']} is missing")
    return each["default"]


def _null(kind: str, value: Any, path: str) -> bytes:
    if value is not None:
        raise NotOfTheSchema(f"field {path} is not null")
    return b""


def _boolean(kind: str, value: Any, path: str) -> bytes:
    if not isinstance(value, bool):
        raise NotOfTheSchema(f"field {path} is no boolean")
    return b"\x01" if value else b"\x00"


def _integer(kind: str, value: Any, path: str) -> bytes:
    limit = 1 << _INT_BITS[kind]
    if isinstance(value, bool) or not isinstance(value, int) or not -limit <= value < limit:
        raise NotOfTheSchema(f"field {path} is no whole number of {_INT_BITS[kind] + 1} bits")
    return long_bytes(value)


def _float(kind: str, value: Any, path: str) -> bytes:
    number = NOT_FINITE.get(value, value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise NotOfTheSchema(f"field {path} is no number")
    try:
        return struct.pack(_FLOATS[kind], number)
    except (OverflowError, struct.error) as why:
        raise NotOfTheSchema(f"field {path} does not fit a {kind}") from why


def _raw(kind: str, value: Any, path: str) -> bytes:
    try:
        return value.encode("latin-1")  # type: ignore[no-any-return]
    except (AttributeError, UnicodeEncodeError) as why:
        raise NotOfTheSchema(f"field {path} is no text of one character a byte") from why


def _bytes(kind: str, value: Any, path: str) -> bytes:
    raw = _raw(kind, value, path)
    return long_bytes(len(raw)) + raw


def _string(kind: str, value: Any, path: str) -> bytes:
    try:
        raw = value.encode("utf-8")
    except (AttributeError, UnicodeEncodeError) as why:
        raise NotOfTheSchema(f"field {path} is no text") from why
    return long_bytes(len(raw)) + raw  # type: ignore[no-any-return]


_WRITES: Final[dict[str, Callable[[str, Any, str], bytes]]] = {
    "null": _null,
    "boolean": _boolean,
    "int": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "bytes": _bytes,
    "string": _string,
}
