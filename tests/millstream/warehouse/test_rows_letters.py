"""Dead letters as rows: one for each record, whatever its headers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.letters import DeadLetter, to_headers
from millstream.records import Headers
from millstream.warehouse.rows import LetterRows
from tests.millstream.warehouse.test_rows import records

_LETTER = DeadLetter(
    "t", 1, 2, "decode", "truncated", "short", 1, 7, "m", "1", "2024-01-01T00:00:00+00:00"
)


def test_a_letter_is_a_row_with_its_headers_and_the_events_bytes() -> None:
    """Key and value as they were, whatever they are."""
    values = [b"\xff\x00", None]
    headers = {0: to_headers(_LETTER, [("trace", b"1")]), 1: to_headers(_LETTER)}
    table = LetterRows().rows(records(values, keys=[None, b"\x00"], headers=headers))
    row = table.to_pylist()[0]
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("t", 1, 2)
    assert (row["stage"], row["error"], row["reason"]) == ("decode", "truncated", "short")
    assert (row["attempt"], row["event_schema_id"], row["model"]) == (1, 7, "m")
    assert row["refused_at"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert row["kafka_unreadable"] == ""
    assert table.column("kafka_value").to_pylist() == [b"\xff\x00", b""]
    assert table.column("kafka_key").to_pylist() == [b"", b"\x00"]


def test_a_record_that_is_no_letter_is_a_row_that_says_so() -> None:
    """Without headers, with half of them, with mad numbers: its neighbours keep theirs."""
    mad = [(n, b"9" * 30 if n.endswith(".offset") else v) for n, v in to_headers(_LETTER)]
    headers: dict[int, Headers] = {1: to_headers(_LETTER), 2: to_headers(_LETTER)[:3], 3: mad}
    table = LetterRows().rows(records([b"a", b"b", b"c", b"d"], headers=headers))
    assert table.column("kafka_unreadable").to_pylist() == [
        "not_a_letter", "", "not_a_letter", "not_a_letter",
    ]  # fmt: skip
    assert table.column("source_offset").to_pylist() == [None, 2, None, None]
    assert table.column("kafka_value").to_pylist() == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"2024-01-01T02:00:00+02:00", datetime(2024, 1, 1, tzinfo=UTC)),
        (b"2024-01-01T00:00:00", datetime(2024, 1, 1, tzinfo=UTC)),
        (b"yesterday", None),
        (b"0001-01-01T00:00:00+23:59", None),
        (b"9999-12-31T23:59:59-23:59", None),
        (b"", None),
    ],
)
def test_a_letters_time_is_utc_or_null(text: bytes, time: datetime | None) -> None:
    """Anyone can write a header: none may stop the sink."""
    headers = [(n, text if n.endswith("refused.at") else v) for n, v in to_headers(_LETTER)]
    table = LetterRows().rows(records([b""], headers={0: headers}))
    assert table.column("refused_at").to_pylist() == [time]


@settings(max_examples=80, deadline=None)
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in to_headers(_LETTER)]),
            st.none() | st.binary(max_size=30) | st.integers().map(lambda n: str(n).encode()),
        ),
        max_size=14,
    )
)
def test_no_header_stops_the_rows(headers: list[tuple[str, bytes | None]]) -> None:
    """Any of ours with any bytes in place of, or behind, the right ones."""
    mixed = [*to_headers(_LETTER), *headers]
    table = LetterRows().rows(records([b"v"], headers={0: mixed}))
    assert table.num_rows == 1
    assert table.column("kafka_offset").to_pylist() == [10]
