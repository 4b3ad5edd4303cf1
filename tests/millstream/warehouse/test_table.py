"""[warehouse] of stream.toml: how long rows are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.contracts import topic_table
from millstream.errors import StreamInvalid
from millstream.warehouse.table import keep_days_min
from tests.consumers.analysts import stream_called


def kept(folder: Path, line: str) -> dict[str, int]:
    """What a stream with this line under [warehouse.keep_days] keeps."""
    stream = stream_called("mine", folder, f"\n[warehouse.keep_days]\n{line}\n")
    return stream.warehouse.keep_days


def test_a_table_is_kept_for_so_many_days(tmp_path: Path) -> None:
    """Those that are not named, for ever."""
    assert kept(tmp_path, "events = 90\nlabelled = 400") == {"events": 90, "labelled": 400}
    assert stream_called("mine", tmp_path).warehouse.keep_days == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("event = 90", r"event is no table \(did you mean events\?\)"),
        ("events = 14", "events must be kept for 15 days at least"),
        ("events = 0", "greater than or equal to 1"),
        ("releases = 900", "releases is of a topic that Kafka keeps for ever"),
        ("outcomes = 36501", "less than or equal to 36500"),
    ],
)
def test_what_would_harm_the_sink_is_refused(line: str, said: str, tmp_path: Path) -> None:
    """Kafka must not still have what ClickHouse deletes: the sink would insert it again."""
    with pytest.raises(StreamInvalid, match=said):
        kept(tmp_path, line)


def test_the_least_is_the_topics_retention_and_a_margin() -> None:
    """Rounded up to days; none where the topic is compacted."""
    topics = topic_table()
    assert keep_days_min(topics["events"]) == 7 + 8
    assert keep_days_min(topics["labelled"]) == 30 + 8
    assert keep_days_min(topics["releases"]) is None
