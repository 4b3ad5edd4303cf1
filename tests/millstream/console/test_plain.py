"""ClickHouse's values as a browser reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from millstream.console.plain import TEXT_CHARS_MAX, plain, plain_object


def test_everything_that_clickhouse_gives_is_json() -> None:
    """Without NaN, which a browser does not read."""
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    given = {
        "a": [1, 2.5, float("nan"), float("inf"), True, None],
        "d": Decimal("1.20"),
        "t": at,
        "u": UUID(int=1),
        "m": {1: b"\x00\xff"},
        "s": {"one"},
    }
    found = json.loads(json.dumps(plain_object(given), allow_nan=False))
    assert found["a"] == [1, 2.5, None, None, True, None]
    assert (found["d"], found["t"], found["m"]) == ("1.20", at.isoformat(), {"1": "00ff"})
    assert found["u"].endswith("0001")
    assert found["s"] == ["one"]


def test_numbers_that_javascript_would_round_go_as_text() -> None:
    """2^53 is the first that has a twin."""
    assert plain(2**53 - 1) == 2**53 - 1
    assert plain(2**53) == "9007199254740992"
    assert plain(-(2**63)) == "-9223372036854775808"


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    """A megabyte in a cell helps nobody."""
    found = plain("x" * 1_000_000)
    assert len(found) < TEXT_CHARS_MAX + 40
    assert found.endswith("... (1,000,000 characters)")
