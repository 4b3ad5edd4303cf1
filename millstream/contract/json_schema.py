"""JSON Schemas (draft 2020-12) of Avro schemas, for records in JSON form (jsonform.py).

A named type is defined once under `$defs`, so recursive schemas are no exception. What JSON Schema
has no word for is kept as `x-avro-type` and `x-avro-logicalType`.
"""

from __future__ import annotations

from typing import Any, Final

from millstream.contract.jsonform import NOT_FINITE, Names

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_BYTES: Final = "^[\\u0000-\\u00ff]*$"
_DAY_MS: Final = 86_400_000
_PLAIN: Final[dict[str, dict[str, Any]]] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "long": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]},
    "double": {"anyOf": [{"type": "number"}, {"enum": list(NOT_FINITE)}]},
    "bytes": {"type": "string", "pattern": _BYTES},
    "string": {"type": "string"},
}
_LOGICAL: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("int", "date"): {"description": "Days since 1970-01-01."},
    ("int", "time-millis"): {
        "minimum": 0,
        "maximum": _DAY_MS - 1,
        "description": "Milliseconds since midnight.",
    },
    ("long", "time-micros"): {
        "minimum": 0,
        "maximum": 1_000 * _DAY_MS - 1,
        "description": "Microseconds since midnight.",
    },
    ("long", "timestamp-millis"): {"description": "Milliseconds since 1970-01-01, UTC."},
    ("long", "timestamp-micros"): {"description": "Microseconds since 1970-01-01, UTC."},
    ("long", "timestamp-nanos"): {"description": "Nanoseconds since 1970-01-01, UTC."},
    ("long", "local-timestamp-millis"): {
        "description": "Milliseconds since 1970-01-01, of a clock without a zone."
    },
    ("long", "local-timestamp-micros"): {
        "description": "Microseconds since 1970-01-01, of a clock without a zone."
    },
    ("long", "local-timestamp-nanos"): {
        "description": "Nanoseconds since 1970-01-01, of a clock without a zone."
    },
    ("string", "uuid"): {"format": "uuid"},
}


def json_schema(avro: dict[str, Any], identifier: str) -> dict[str, Any]:
    """The JSON Schema of an Avro record, both as parsed JSON. identifier: its `$id`.

    A field may be left out where Avro has a default for it; another field is refused.
    """
    names = Names()
    names.learn(avro, "")
    definitions: dict[str, Any] = {}
    made = _type(avro, "", names, definitions)
    root = definitions.pop(made["$ref"].rpartition("/")[2])
    schema = {"$schema": DIALECT, "$id": identifier, "title": avro["name"], **root}
    return schema | ({"$defs": definitions} if definitions else {})


def _type(spec: Any, space: str, names: Names, made: dict[str, Any]) -> dict[str, Any]:
    if isinstance(spec, list):
        branches = [_type(branch, space, names, made) for branch in spec]
        return branches[0] if len(branches) == 1 else {"anyOf": branches}
    spec, space = names.resolve(spec, space)
    if isinstance(spec, str):
        spec = {"type": spec}
    if "name" in spec:
        return _named(spec, space, names, made)
    kind = spec["type"]
    if isinstance(kind, str) and kind in _PLAIN:
        return _logical(dict(_PLAIN[kind]), kind, spec)
    if kind == "array":
        return {"type": "array", "items": _type(spec["items"], space, names, made)}
    if kind == "map":
        values = _type(spec["values"], space, names, made)
        return {"type": "object", "additionalProperties": values}
    return _type(kind, space, names, made)


def _logical(plain: dict[str, Any], kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    logical = spec.get("logicalType")
    if logical is None:
        return plain
    if logical == "decimal" and kind in ("bytes", "fixed"):
        more = {
            "description": "The unscaled number of a decimal, big-endian two's complement.",
            "x-avro-precision": spec.get("precision"),
            "x-avro-scale": spec.get("scale", 0),
        }
    else:
        more = _LOGICAL.get((kind, logical), {})
    return plain | more | {"x-avro-logicalType": logical}


def _named(spec: dict[str, Any], space: str, names: Names, made: dict[str, Any]) -> dict[str, Any]:
    """space: of the type's own parts, which is the namespace of its full name."""
    short = spec["name"].rpartition(".")[2]
    full = f"{space}.{short}" if space else short
    if full in made:  # the first of all is the root, which has no name in the end
        return {"$ref": "#" if next(iter(made)) == full else f"#/$defs/{full}"}
    made[full] = {}  # stands here while its own parts refer to it
    said = {"description": spec["doc"]} if spec.get("doc") else {}
    if spec["type"] == "enum":
        made[full] = said | {"enum": list(spec["symbols"])}
    elif spec["type"] == "fixed":
        sized = {"type": "string", "pattern": _BYTES}
        sized |= {"minLength": spec["size"], "maxLength": spec["size"]}
        made[full] = said | _logical(sized, "fixed", spec)
    else:
        fields = spec["fields"]
        made[full] = said | {
            "type": "object",
            "properties": {f["name"]: _field(f, space, names, made) for f in fields},
            "required": [f["name"] for f in fields if "default" not in f],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{full}"}


def _field(field: dict[str, Any], space: str, names: Names, made: dict[str, Any]) -> dict[str, Any]:
    """The field's type; its doc comes before what the type says of itself."""
    kind = _type(field["type"], space, names, made)
    said = " ".join(text for text in (field.get("doc"), kind.get("description")) if text)
    found = kind | ({"description": said} if said else {})
    return found | ({"default": field["default"]} if "default" in field else {})
