"""ClickHouse's condition cache, which loses rows, is asked by nobody here."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from clickhouse_connect.driver.models import SettingDef

from consumers.warehouse import Warehouse, migrate
from millstream.stream import Stream
from millstream.warehouse.caching import CONDITION_CACHE, LOSES_ROWS


def test_a_join_takes_no_rows_from_the_next_question(warehouse: Warehouse, stream: Stream) -> None:
    """An engine with a condition cache notes for the join's part that no row meets its inner
    condition, once the join's runtime filter has left none."""
    migrate(warehouse, stream)
    made, answered = f"{stream.name}.made", f"{stream.name}.answered"
    for table in (f"{made} (n Int64, record String, kind String)", f"{answered} (n Int64)"):
        warehouse.command(f"CREATE TABLE {table} ENGINE = MergeTree ORDER BY n")
    warehouse.command(f"INSERT INTO {made} SELECT number, 'switch', 'canary' FROM numbers(20)")
    warehouse.command(f"INSERT INTO {answered} SELECT number FROM numbers(80000)")
    switches = f"SELECT n, kind FROM {made} WHERE record = 'switch' AND n >= 0"
    promoted = f"SELECT n FROM ({switches} LIMIT 1 BY n) WHERE kind = 'promote' GROUP BY n"
    asked = f"SELECT count() FROM {answered} INNER JOIN ({promoted}) AS p USING (n)"
    assert warehouse.query(asked) == [(0,)]
    assert len(warehouse.query(switches)) == 20


@dataclass
class Profile:
    """A client of a user with this profile."""

    server_settings: dict[str, SettingDef]
    said: dict[str, str] = field(default_factory=dict)

    def set_client_setting(self, key: str, value: str) -> None:
        self.said[key] = value


@pytest.mark.parametrize(
    ("value", "readonly", "others_do", "said", "is_warned"),
    [
        ("1", 0, True, {CONDITION_CACHE: "0"}, False),
        ("0", 0, False, {CONDITION_CACHE: "0"}, False),
        ("1", 1, True, {}, True),
        ("0", 1, False, {CONDITION_CACHE: "0"}, False),
        (None, 0, False, {}, False),
    ],
    ids=["the default", "ours", "nobody may change it", "ours, for readers", "an old server"],
)
def test_the_cache_that_loses_rows_is_left_out(
    value: str | None,
    readonly: int,
    others_do: bool,
    said: dict[str, str],
    is_warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the profile says, where that can be said."""
    known = {} if value is None else {CONDITION_CACHE: SettingDef(CONDITION_CACHE, value, readonly)}
    client = Profile(known)
    assert Warehouse(client).others_lose_rows == others_do  # type: ignore[arg-type]
    assert client.said == said
    assert (LOSES_ROWS in caplog.text) == is_warned
