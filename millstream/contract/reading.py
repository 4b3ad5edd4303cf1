"""Kafka values from what a person has at hand: a captured value, hexadecimal, JSON, a test kit."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from millstream.columnar import frame
from millstream.contract.jsonform import JsonWriter, NotOfTheSchema
from millstream.errors import SettingsInvalid
from millstream.stream import Stream

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class Given:
    """One record. name: of a kit's case, or its place. wrong: why its JSON is no event."""

    name: str
    value: bytes | None
    wrong: str | None = None


def read_given(stream: Stream, text_or_file: str, schema_id: int) -> list[Given]:
    """The records that an argument names.

    .json, .jsonl, .ndjson: events in JSON form, or a test kit; schema_id goes into their frames.
    .hex: a value in each line. Any other file: one value, byte for byte. No file: hexadecimal.
    A line that is no JSON is a record that is no event. Raises SettingsInvalid, also where a file
    holds nothing: nothing was checked.
    """
    file = Path(text_or_file)
    try:
        raw = file.read_bytes()
    except (OSError, ValueError):  # no such file, or no name that a file can have
        return [Given("value", _from_hex(text_or_file, text_or_file))]
    if file.suffix not in {".json", ".jsonl", ".ndjson", ".hex"}:
        return [Given(file.name, raw)]
    try:
        text = raw.decode("utf-8-sig")  # some editors put a mark in front, which is no JSON
    except UnicodeDecodeError:
        raise SettingsInvalid(
            f"{file} is not UTF-8", "Give a binary value a name that ends in .bin"
        ) from None
    lines = [(at, line.strip()) for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise SettingsInvalid(f"{file} holds no record", "Give a file with records in it")
    if file.suffix == ".hex":
        return [Given(f"line {at}", _from_hex(line, f"{file}:{at}")) for at, line in lines]
    writer = JsonWriter(json.loads(stream.schema_of_event.text))
    if file.suffix == ".json":
        records = _parsed(file, text)
        return [_of_json(writer, each, place, schema_id) for place, each in records.items()]
    return [_of_line(writer, line, f"line {at}", schema_id) for at, line in lines]


def _from_hex(text: str, where: str) -> bytes:
    if not _HEX.fullmatch(text):
        raise SettingsInvalid(
            f"{where[:80]} is no file and no hexadecimal",
            "Give a file, or bytes such as 0000000001",
        )
    return bytes.fromhex(text)


def _parsed(file: Path, text: str) -> dict[str, Any]:
    """Each record's JSON, by its place."""
    try:
        read = json.loads(text)
        if isinstance(read, dict) and "cases" in read:
            found = {case["name"]: case for case in read["cases"]}
        else:
            many = read if isinstance(read, list) else [read]
            found = {f"record {at}": each for at, each in enumerate(many, 1)}
    except (ValueError, KeyError, TypeError, RecursionError) as why:
        raise SettingsInvalid(f"{file} cannot be read as JSON: {why}", "Mend the file") from None
    if not found:
        raise SettingsInvalid(f"{file} holds no record", "Give a file with records in it")
    return found


def _of_line(writer: JsonWriter, line: str, place: str, schema_id: int) -> Given:
    try:
        read = json.loads(line)
    except json.JSONDecodeError as why:
        return Given(place, None, f"it is no JSON: {why.msg}, column {why.colno}")
    except (ValueError, RecursionError) as why:  # a number of too many digits; too many brackets
        return Given(place, None, f"it is no JSON that can be read: {why}")
    return _of_json(writer, read, place, schema_id)


def _of_json(writer: JsonWriter, read: Any, place: str, schema_id: int) -> Given:
    if isinstance(read, dict) and {"name", "verdict", "hex"} <= set(read):
        value = read["hex"]
        return Given(place, None if value is None else _from_hex(value, place))
    if not isinstance(read, dict):
        return Given(place, None, "it is no JSON object")
    try:
        return Given(place, frame(schema_id) + writer.body(read))
    except NotOfTheSchema as why:
        return Given(place, None, str(why))
