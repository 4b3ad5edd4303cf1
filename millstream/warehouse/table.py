"""[warehouse] of stream.toml: how long ClickHouse keeps what."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from millstream.contracts import Topic, topic_table
from millstream.toml import nearest

MARGIN_DAYS = 8
"""A week for which Kafka may keep a segment open beyond its topic's retention, and a day."""
_DAY_MS = 86_400_000


class WarehouseTable(BaseModel):
    """What ClickHouse deletes, by table; `millstream migrate` tells it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    keep_days: dict[str, Annotated[int, Field(ge=1, le=36_500)]] = {}
    """Table -> days for which its rows are kept; a table that is not named keeps them for ever. Too
    low loses rows that people and retrainings ask for; too high fills the disk. Whole parts are
    deleted, so a row may stay a month longer."""

    @field_validator("keep_days")
    @classmethod
    def _outlives_the_topic(cls, given: dict[str, int]) -> dict[str, int]:
        """What Kafka still has must not be deleted here: the sink's place is the highest offset
        among the rows, and it would insert again what is gone."""
        topics = {topic.table: topic for topic in topic_table().values() if topic.table}
        for table, days in given.items():
            if table not in topics:
                known = [name for name in topics if name]
                raise ValueError(f"{table} is no table{nearest(table, known)}")
            least = keep_days_min(topics[table])
            if least is None:
                raise ValueError(f"{table} is of a topic that Kafka keeps for ever: leave it out")
            if days < least:
                raise ValueError(
                    f"{table} must be kept for {least} days at least: its topic's retention and "
                    f"{MARGIN_DAYS}"
                )
        return given


def keep_days_min(topic: Topic) -> int | None:
    """The fewest days for which the topic's rows may be kept; None where Kafka deletes none."""
    retention_ms = int(topic.config.get("retention.ms", "-1"))
    if topic.config.get("cleanup.policy") != "delete" or retention_ms < 0:
        return None
    return -(-retention_ms // _DAY_MS) + MARGIN_DAYS
