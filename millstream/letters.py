"""Dead letters: why an event was refused, as Kafka headers, and back.

The event's key, value and own headers stay byte for byte; ours follow them. Their names come from
schemas/dead_letter.vN.avsc (Kafka Connect's suffixes under `millstream.errors.`), their values are
UTF-8 text.

A letter is redriven by publishing its event once more: a replay, a new event at new coordinates
with an answer of its own. So each event, replay or not, has one prediction or one letter.
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
REPLAY_OF = "millstream.replay.of"
"""Header of a replay: the coordinates of the event that it replays."""
REPLAY_ORIGIN = "millstream.replay.origin"
"""Header of a replay: the coordinates of the event that its producer wrote, over all attempts."""
_LEFT_OUT = "; left out as too large: "
_BITS = {"int": 31, "long": 63}


@dataclass(frozen=True, slots=True)
class Source:
    """Where an event stands.

    >>> Source.parse(b"loans.events/2/812")
    Source(topic='loans.events', partition=2, offset=812)
    >>> str(Source("loans.events", 2, 812))
    'loans.events/2/812'
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, raw: bytes) -> Source:
        """Raises ValueError where these are no coordinates."""
        topic, partition, offset = raw.decode().split("/")
        source = cls(topic, _number(partition, 31), _number(offset, 63))
        if not topic or min(source.partition, source.offset) < 0:
            raise ValueError(raw)
        return source


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

    @property
    def source(self) -> Source:
        """Where the refused event stands."""
        return Source(self.source_topic, self.source_partition, self.source_offset)

    @property
    def is_whole(self) -> bool:
        """Whether it carries its event's key, value and headers; see `fitted`."""
        return _LEFT_OUT not in self.reason


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
    note = f"{_LEFT_OUT}{', '.join(sorted(out))}"
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


def replay_of(headers: Headers) -> Source | None:
    """The event that this event replays; None for one that its producer wrote.

    The rule for audits. Each event, replays among them, has one prediction or one letter: the
    coordinates of a redriven event stay answered by its letter. A letter is redriven if, under
    read_committed, NAME.redrives has a record whose key is the text of its `source`; NAME.events
    then has exactly one record of which `replay_of` is that source, and neither topic names a
    source twice: both records are of one transaction. It is repaired if that replay, or in turn the
    replay of its letter, has a prediction.
    """
    return _source(headers, REPLAY_OF)


def origin_of(letter: DeadLetter, headers: Headers) -> Source:
    """Where the letter's event was first written; attempts of one partition stay in it.

    headers: the letter's.
    """
    origin = _source(headers, REPLAY_ORIGIN)
    near = origin is not None and (origin.topic, origin.partition) == (
        letter.source_topic,
        letter.source_partition,
    )
    return origin if origin is not None and near else letter.source


def replay_headers(letter: DeadLetter, headers: Headers) -> list[tuple[str, bytes | None]]:
    """Headers of the event that replays the letter's: its own, the attempt, whence it comes.

    headers: the letter's.
    """
    names = dead_letter_headers()
    ours = {*names.values(), REPLAY_OF, REPLAY_ORIGIN}
    attempt = min(letter.attempt + 1, ATTEMPT_MAX)
    return [(name, value) for name, value in headers if name not in ours] + [
        (names["attempt"], str(attempt).encode()),
        (REPLAY_OF, str(letter.source).encode()),
        (REPLAY_ORIGIN, str(origin_of(letter, headers)).encode()),
    ]


def _source(headers: Headers, name: str) -> Source | None:
    raw = next((value for key, value in headers if key == name and value), None)
    if raw is None:
        return None
    try:
        return Source.parse(raw)
    except ValueError:
        return None


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
