"""Releases on Kafka."""

from __future__ import annotations

import pytest

from millstream.contracts import contract
from millstream.errors import RecordRefused
from millstream.releases.release import Failure, Switch
from millstream.releases.wire import Reader, Writer
from tests.millstream.releases.made import model, release


def test_what_was_written_is_read() -> None:
    """Releases, switches and failures, by the contract."""
    reader, writer = Reader(lambda _: contract("release").text), Writer(7)
    canary = release(2, challenger=model(3), canary_share=0.1)
    for entry in (canary, Switch(canary, 1, 2**53 + 1), Failure(canary, "s-0", "why")):
        assert reader.entry(writer.value(entry)) == entry


@pytest.mark.parametrize("value", [None, b"", b"not framed", b"\0\0\0\0\7damaged"])
def test_what_is_no_release_is_refused(value: bytes | None) -> None:
    """A foreign record in the topic stops nobody."""
    with pytest.raises(RecordRefused):
        Reader(lambda _: contract("release").text).entry(value)
