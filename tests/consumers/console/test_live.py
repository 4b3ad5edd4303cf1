"""What moves, read from a real ClickHouse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from consumers.console.live import Live
from consumers.console.reach import Reach
from consumers.warehouse import Warehouse, migrate
from millstream.settings import WarehouseSettings
from millstream.stream import Stream
from tests.consumers.console.planted import EVENTS, OPEN_INCIDENT, Planted


def test_it_says_what_the_tables_say(reach: Reach, planted: Planted) -> None:
    """Rates, latency, rows, what is open, what fires, who answers."""
    now_s = planted.now_us / 1e6
    said = Live(planted.stream, reach, lambda: now_s).look()
    name = planted.stream.name
    waits = [
        wait
        for (wait,) in reach.rows(
            "SELECT dateDiff('microsecond', published_at, scored_at) / 1000 "
            f"FROM {name}.predictions WHERE toUnixTimestamp(scored_at) >= {int(now_s) - 60}"
        )
    ]
    wanted = np.quantile(np.array(waits, float), [0.5, 0.95, 0.99], method="inverted_cdf")
    assert said["now"]["latency_ms"] == pytest.approx(wanted, rel=0.025)
    assert said["now"]["predictions_per_s"] == pytest.approx(20, abs=1)
    ((kept,),) = reach.rows(
        f"SELECT avg(in_budget) FROM {name}.predictions "
        f"WHERE toUnixTimestamp(scored_at) >= {int(now_s) - 60}"
    )
    assert said["now"]["in_budget"] == pytest.approx(kept)
    assert said["rows"]["predictions"] == EVENTS
    assert [one["id"] for one in said["incidents"]] == [OPEN_INCIDENT]
    assert [one["rule"] for one in said["alarms"]] == ["incident"]
    assert said["release"]["champion_version"] == "2"
    assert sum(point[1] for point in said["series"]) > 0


@pytest.fixture
def empty(served: WarehouseSettings, stream: Stream) -> Warehouse:
    """Tables without rows."""
    warehouse = Warehouse.connect(served)
    migrate(warehouse, stream)
    return warehouse


def _predict(warehouse: Warehouse, stream: Stream, first: int, count: int, at_s: int) -> None:
    """Predictions at these offsets, scored in one second."""
    at = pa.array(np.full(count, at_s * 1_000_000)).cast(pa.timestamp("us", "UTC"))
    columns = {
        "kafka_topic": [stream.topic("predictions")] * count,
        "kafka_partition": np.full(count, 3, np.int32),
        "kafka_offset": np.arange(first, first + count),
        "published_at": at,
        "scored_at": at,
        "in_budget": [True] * count,
    }
    warehouse.insert(stream.name, "predictions", pa.table(columns), f"{first}")


def test_every_row_is_counted_once_however_often_it_looks(
    reach: Reach, empty: Warehouse, stream: Stream
) -> None:
    """From an empty table on, and on a partition whose neighbours have nothing."""
    live = Live(stream, reach, lambda: 1_000.0)
    assert live.look()["now"]["newest_s"] is None
    total = 0
    for turn, count in enumerate((5, 0, 7, 1)):
        if count:
            _predict(empty, stream, total, count, 990 + turn)
        total += count
        series = live.look()["series"]
        assert sum(point[1] * 5 for point in series) == pytest.approx(total)
    assert live.look()["now"]["newest_s"] == 993
    empty.close()
