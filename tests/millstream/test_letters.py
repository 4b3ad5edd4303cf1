"""Dead letters as headers, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.contracts import dead_letter_headers
from millstream.errors import RecordRefused
from millstream.letters import (
    ATTEMPT_MAX,
    LETTER_BYTES_MAX,
    REASON_CHARS_MAX,
    DeadLetter,
    attempt_of,
    fitted,
    from_headers,
    to_headers,
)
from millstream.records import Headers

_LETTER = DeadLetter(
    source_topic="loans.events",
    source_partition=2,
    source_offset=812,
    stage="decode",
    error="truncated",
    reason="it ends early",
    attempt=1,
    event_schema_id=7,
    model="loans",
    model_version="3",
    refused_at="2024-01-01T00:00:00.000+00:00",
)
_NAMES = dead_letter_headers()
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    topic=_texts,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    reason=_texts,
    schema_id=st.none() | st.integers(0, 2**31 - 1),
)
def test_a_letter_survives_its_headers(
    topic: str, partition: int, offset: int, reason: str, schema_id: int | None
) -> None:
    """Whatever it says."""
    letter = replace(
        _LETTER,
        source_topic=topic,
        source_partition=partition,
        source_offset=offset,
        reason=reason,
        event_schema_id=schema_id,
    )
    assert from_headers(to_headers(letter)) == letter


def test_the_events_own_headers_stay_first_and_as_they_were() -> None:
    """Doubled ones, empty ones and those that are no text too."""
    own = [("trace", b"\xff\x00"), ("trace", b"2"), ("none", None), ("", b"")]
    headers = to_headers(_LETTER, own)
    assert headers[:4] == own
    assert from_headers(headers) == _LETTER


def test_a_letters_headers_replace_those_of_an_earlier_attempt() -> None:
    """A redriven event that is refused again has one reason, its last."""
    first = to_headers(_LETTER, [("trace", b"1")])
    second = to_headers(replace(_LETTER, attempt=2, event_schema_id=None), first)
    assert from_headers(second) == replace(_LETTER, attempt=2, event_schema_id=None)
    assert [name for name, _ in second].count(_NAMES["reason"]) == 1
    assert second[0] == ("trace", b"1")


def test_a_reason_is_cut_at_its_bound() -> None:
    """By characters; what is within it stays whole."""
    long = replace(_LETTER, reason="é" * (REASON_CHARS_MAX + 1))
    assert from_headers(to_headers(long)).reason == "é" * REASON_CHARS_MAX
    exact = replace(_LETTER, reason="é" * REASON_CHARS_MAX)
    assert from_headers(to_headers(exact)) == exact


@pytest.mark.parametrize("field", [name for name in _NAMES if name != "event_schema_id"])
def test_without_a_required_header_it_is_no_letter(field: str) -> None:
    """The header is named; a null is as missing."""
    whole = to_headers(_LETTER)
    without = [(name, value) for name, value in whole if name != _NAMES[field]]
    for headers in (without, [*without, (_NAMES[field], None)]):
        with pytest.raises(RecordRefused, match=f"header {_NAMES[field]} is missing") as caught:
            from_headers(headers)
        assert caught.value.name == "not_a_letter"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source_offset", b"12x"),
        ("source_offset", b""),
        ("source_offset", str(2**63).encode()),
        ("source_partition", str(2**31).encode()),
        ("source_partition", b"1_0"),
        ("source_partition", b" 1"),
        ("source_partition", "\u0661".encode()),
        ("attempt", b"9" * 5_000),
        ("event_schema_id", str(2**32 - 1).encode()),
        ("reason", b"\xff"),
        ("model", b"\xed\xa0\x80"),
    ],
)
def test_a_garbled_header_is_refused(field: str, value: bytes) -> None:
    """A number that the contract's type cannot hold would stop whoever stores it."""
    headers = [(name, value if name == _NAMES[field] else old) for name, old in to_headers(_LETTER)]
    with pytest.raises(RecordRefused, match=f"header {_NAMES[field]} is no "):
        from_headers(headers)


def test_no_headers_are_no_letter() -> None:
    """As of a record that something else wrote into the topic."""
    with pytest.raises(RecordRefused):
        from_headers(())


@pytest.mark.parametrize(
    ("headers", "attempt"),
    [
        ((), 1),
        ([("other", b"5")], 1),
        ([(_NAMES["attempt"], b"2")], 2),
        ([(_NAMES["attempt"], None)], 1),
        ([(_NAMES["attempt"], b"")], 1),
        ([(_NAMES["attempt"], b"many")], 1),
        ([(_NAMES["attempt"], b"-3")], 1),
        ([(_NAMES["attempt"], b"0")], 1),
        ([(_NAMES["attempt"], str(ATTEMPT_MAX).encode())], ATTEMPT_MAX),
        ([(_NAMES["attempt"], str(2**31).encode())], 1),
        ([(_NAMES["attempt"], b"9" * 5_000)], 1),
    ],
)
def test_the_attempt_is_1_unless_a_redrive_says_more(headers: Headers, attempt: int) -> None:
    """Producers can write any header: a mad number must neither stop the scorer nor the sink."""
    assert attempt_of(headers) == attempt


def _size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    return (
        len(key or b"")
        + len(value or b"")
        + sum(len(name.encode()) + len(text or b"") for name, text in headers)
    )


@pytest.mark.parametrize(
    ("key", "value", "own", "left_out"),
    [
        (b"k", b"v" * 8_388_600, [("trace", b"1")], ""),
        (b"k", None, [], ""),
        (b"k", b"v" * 12_000_000, [("trace", b"1")], "value"),
        (b"k", b"v", [("large", b"h" * 12_000_000)], "headers"),
        (b"k" * 12_000_000, b"v", [("trace", b"1")], "key"),
        (b"k" * 12_000_000, b"v" * 12_000_000, [("l", b"h" * 12_000_000)], "headers, key, value"),
    ],
)
def test_what_does_not_fit_a_letter_is_left_out_and_named(
    key: bytes, value: bytes | None, own: Headers, left_out: str
) -> None:
    """A compressed event can be larger than any record that we may write; its letter must fit, or
    the scorer would try it for ever. The event stays where the coordinates point."""
    letter, fit_key, fit_value, headers = fitted(_LETTER, key, value, own)
    assert _size(fit_key, fit_value, headers) <= LETTER_BYTES_MAX
    assert from_headers(headers) == letter
    kept = {
        "key": fit_key == key,
        "value": fit_value == value,
        "headers": headers[: len(own)] == own,
    }
    gone = sorted(part for part, whole in kept.items() if not whole)
    assert ", ".join(gone) == left_out
    assert letter.reason.startswith(_LETTER.reason)
    assert (f"left out as too large: {left_out}" in letter.reason) == bool(left_out)
