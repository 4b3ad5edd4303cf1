"""Tests of consumers/batch.py with what a producer can send and no client of ours would."""

from __future__ import annotations

from typing import Any

import numpy as np

from consumers.batch import records_of


class Unreadable:
    """What confluent-kafka does with a header whose name is the byte ff, seen with kcat -H."""

    def __init__(self, headers: list[tuple[str, bytes]] | None) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes]]:
        """As the client's own."""
        if self._headers is None:
            raise SystemError("returned a result with an exception set")
        return self._headers

    def topic(self) -> str:
        """As the client's own."""
        return "events"

    def value(self) -> bytes:
        """As the client's own."""
        return b"value"

    def timestamp(self) -> tuple[int, int]:
        """As the client's own."""
        return 1, 1_700_000_000_000

    key, partition, offset = value, topic, topic


def test_a_header_whose_name_is_not_utf8_costs_only_its_own_records_headers() -> None:
    """The record is taken without them, its neighbours keep theirs."""
    good = [("trace", b"1")]
    messages: list[Any] = [Unreadable(good), Unreadable(None), Unreadable([])]
    places = np.zeros(3, np.int32)
    records = records_of("events", messages, places, np.arange(3, dtype=np.int64))
    assert records.headers == {0: good}
    assert len(records) == 3
