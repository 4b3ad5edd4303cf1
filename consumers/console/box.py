"""The SQL page: one SELECT, read-only, within limits that it cannot raise."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any, Final

from consumers.console.reach import Reach, trouble_of
from consumers.warehouse import CLICKHOUSE, Found
from millstream.console.plain import plain
from millstream.settings import ConsoleSettings

SQL_CHARS_MAX: Final = 20_000
RESULT_BYTES_MAX: Final = 20_000_000
COLUMNS_MAX: Final = 200
SCAN_ROWS_MAX: Final = 2_000_000_000
PARAMETERS_MAX: Final = 20
VALUE_CHARS_MAX: Final = 2_000
_PARAMETER: Final = re.compile(r"\{([A-Za-z_]\w*):\s*\w+\}")


class Box:
    """Runs what a person typed. Its answer always says what happened; nothing is raised.

    database: where tables are that stand without one, as in the cookbook.
    """

    def __init__(self, reach: Reach, settings: ConsoleSettings, database: str) -> None:
        self._reach = reach
        self._rows_max = settings.query_rows_max
        self._limits = {
            "database": database,
            "max_execution_time": settings.query_s_max,
            "timeout_overflow_mode": "throw",
            "max_result_rows": settings.query_rows_max,
            "max_result_bytes": RESULT_BYTES_MAX,
            "result_overflow_mode": "break",
            "max_rows_to_read": SCAN_ROWS_MAX,
            "max_memory_usage": settings.query_bytes_max,
            "max_threads": 2,
        }
        self.limits = {
            "seconds": settings.query_s_max,
            "rows": settings.query_rows_max,
            "bytes": settings.query_bytes_max,
        }

    def run(self, sql: str, given: Mapping[str, str]) -> dict[str, Any]:
        """names, types, rows (cut: whether there were more), ms; or error, a line for people.

        given: values of the parameters that the query has as {name:Type}; others are left out.
        """
        text = sql.strip().rstrip(";").strip()
        if not text:
            return {"error": "there is no query"}
        if len(text) > SQL_CHARS_MAX:
            return {"error": f"the query is longer than {SQL_CHARS_MAX:,} characters"}
        # ClickHouse binds these; the client would write others into the text itself
        bound = {name: given[name] for name in _PARAMETER.findall(text) if name in given}
        if len(bound) > PARAMETERS_MAX or any(len(v) > VALUE_CHARS_MAX for v in bound.values()):
            return {
                "error": f"at most {PARAMETERS_MAX} parameters of {VALUE_CHARS_MAX:,} characters"
            }
        began = time.monotonic()
        try:
            found = self._reach.look(text, self._limits, **bound)
        except Exception as why:  # noqa: BLE001 - shown; logged where it is the console's own
            return {"error": trouble_of(why, CLICKHOUSE).problem}
        return self._shown(found) | {"ms": round((time.monotonic() - began) * 1_000)}

    def _shown(self, found: Found) -> dict[str, Any]:
        rows = found.rows[: self._rows_max]
        return {
            "names": found.names[:COLUMNS_MAX],
            "types": found.types[:COLUMNS_MAX],
            "rows": [[_shown(cell) for cell in row[:COLUMNS_MAX]] for row in rows],
            "cut": len(found.rows) > len(rows) or len(found.names) > COLUMNS_MAX,
            "error": None,
        }


def _shown(cell: Any) -> Any:
    """As `plain`; a number that is none is shown as what it is."""
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    return plain(cell)
