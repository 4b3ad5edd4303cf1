"""Dead letters: why an event was refused, as Kafka headers, and back.

The event's key, value and own headers stay byte for byte; ours follow them. Their names come from
schemas/dead_letter.vN.avsc (Kafka Connect's suffixes under `millstream.errors.`), their values are
UTF-8 text.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cache

from millstream.contracts import contract, dead_letter_headers
from millstream.errors import RecordRefused, Stage
from millstream.records import Headers

REASON_CHARS_MAX = 500
ATTEMPT_MAX = 999_999_999
LETTER_BYTES_MAX = 9_000_000
"""Key, value and headers together: below max.message.bytes of the topic and of our producer."""
_BITS = {"int": 31, "long": 63}


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
            values[field] = _number(text, _BITS[kind]) if kind in _BITS else text
        except ValueError:
            raise RecordRefused(
                Stage.DECODE, "not_a_letter", f"header {name} is no {kind}"
            ) from None
    return DeadLetter(**values)  # type: ignore[arg-type]


def fitted(
    letter: DeadLetter, key: bytes | None, value: bytes | None, own: Headers
) -> tuple[DeadLetter, bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
    """The letter with key, value and headers, within LETTER_BYTES_MAX.

    An event may be larger than that: its producer compressed it. What does not fit is left out, the
    largest first, and the reason names it; the event itself stays at its offset.
    """
    headers = to_headers(letter, own)
    ours = _size(to_headers(letter)) + REASON_CHARS_MAX
    sizes = {"key": len(key or b""), "value": len(value or b""), "headers": _size(own)}
    out = []
    while ours + sum(sizes.values()) > LETTER_BYTES_MAX:
        largest = max(sizes, key=lambda part: sizes[part])
        sizes[largest] = 0
        out.append(largest)
    if not out:
        return letter, key, value, headers
    note = f"; left out as too large: {', '.join(sorted(out))}"
    letter = replace(letter, reason=letter.reason[: REASON_CHARS_MAX - len(note)] + note)
    return (
        letter,
        None if "key" in out else key,
        None if "value" in out else value,
        to_headers(letter, () if "headers" in out else own),
    )


def attempt_of(headers: Headers) -> int:
    """Which attempt this is: 1, or what the redrive wrote into the header."""
    name = dead_letter_headers()["attempt"]
    raw = next((value for key, value in headers if key == name and value), b"1")
    sane = raw.isdigit() and len(raw) <= len(str(ATTEMPT_MAX))
    return max(1, int(raw)) if sane else 1


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(value or b"") for name, value in headers)


def _number(text: str, bits: int) -> int:
    """Raises ValueError where the text is no whole number, or beyond `bits` bits and a sign."""
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise ValueError(text)
    number = int(text)
    if not -(2**bits) <= number < 2**bits:
        raise ValueError(text)
    return number


@cache
def _types() -> dict[str, tuple[str, bool]]:
    """Field -> (Avro type without null, whether it may be null)."""
    found = {}
    for field in json.loads(contract("dead_letter").text)["fields"]:
        branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
        plain = next(branch for branch in branches if branch != "null")
        found[field["name"]] = (plain, "null" in branches)
    return found
