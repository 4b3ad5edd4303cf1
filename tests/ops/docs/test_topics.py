"""The page of the topics."""

from __future__ import annotations

from millstream.contract.public import CHANNELS
from millstream.contracts import topic_table
from ops.docs.topics import topic_page


def test_every_public_topic_is_there() -> None:
    """With its key and what is promised; internal ones are named as such."""
    page = topic_page()
    for channel in CHANNELS:
        assert f"## {topic_table()[channel.kind].name('NAME')}\n" in page
        assert channel.key in page
        assert channel.guarantee in page
    assert "`NAME.join-state`" in page.rpartition("without notice")[2]
