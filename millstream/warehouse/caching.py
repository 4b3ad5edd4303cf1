"""A cache of ClickHouse's that loses rows, and is left out.

ClickHouse from 25.3 on remembers which granules of a part no row of a condition lies in. Some
queries write that down wrongly: a join whose runtime filter is run with the condition (26.9.2;
ClickHouse's pull request 119823 ends that), sampled reads, and others. The query itself is right;
whoever asks later with the same condition misses rows, and nothing says so. An analyst's join made
the judge see no release at all.
"""

from __future__ import annotations

from typing import Final

CONDITION_CACHE: Final = "use_query_condition_cache"
LOSES_ROWS: Final = (
    f"the user's profile in ClickHouse has {CONDITION_CACHE} = 1: queries may miss rows. Set it to "
    "0 there: ops/clickhouse/profile.xml; docs/SQL.md says why"
)
"""What an operator is told."""
