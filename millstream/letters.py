"""Dead letters: why an event was refused, as Kafka headers, and back.

The event's key, value and own headers stay byte for byte; ours follow them. Their names come from
schemas/dead_letter.vN.avsc (Kafka Connect's suffixes under `millstream.errors.`), their values are
UTF-8 text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache

from millstream.contracts import contract, dead_letter_headers
from millstream.errors import RecordRefused, Stage
from millstream.records import Headers

REASON_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The fields of schemas/dead_letter.v1.avsc."""

    source_topic: str
    source_partition: int
    source_offset: int
    stage: str
    error: str
    reason: str
    attempt: int
    event_schema_id: int | None
    model: str
    model_version: str
    refused_at: str


def to_headers(letter: DeadLetter, own: Headers = ()) -> list[tuple[str, bytes | None]]:
    """The event's own headers, then one for each field that is not None."""
    names = dead_letter_headers()
    ours = set(names.values())
    values = asdict(letter) | {"reason": letter.reason[:REASON_CHARS_MAX]}
    return [(name, value) for name, value in own if name not in ours] + [
        (names[field], str(value).encode()) for field, value in values.items() if value is not None
    ]


def from_headers(headers: Headers) -> DeadLetter:
    """The letter that these headers say.

    Raises RecordRefused where a required one is missing or no number where one is due.
    """
    given = dict(headers)
    values: dict[str, str | int | None] = {}
    for field, name in dead_letter_headers().items():
        raw = given.get(name)
        kind, nullable = _types()[field]
        if raw is None:
            if not nullable:
                raise RecordRefused(Stage.DECODE, "not_a_letter", f"header {name} is missing")
            values[field] = None
            continue
        try:
            text = raw.decode()
            values[field] = int(text) if kind in {"int", "long"} else text
        except ValueError:
            raise RecordRefused(
                Stage.DECODE, "not_a_letter", f"header {name} is no {kind}"
            ) from None
    return DeadLetter(**values)  # type: ignore[arg-type]


def attempt_of(headers: Headers) -> int:
    """Which attempt this is: 1, or what the redrive wrote into the header."""
    name = dead_letter_headers()["attempt"]
    raw = next((value for key, value in headers if key == name and value), b"1")
    return int(raw) if raw.isdigit() else 1


@cache
def _types() -> dict[str, tuple[str, bool]]:
    """Field -> (Avro type without null, whether it may be null)."""
    found = {}
    for field in json.loads(contract("dead_letter").text)["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        plain = next(branch for branch in branches if branch != "null")
        found[field["name"]] = (plain, "null" in branches)
    return found
