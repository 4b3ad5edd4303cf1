"""ClickHouse as the console asks it: one client, read-only, within limits; and what it last said.

Every statement runs with readonly = 1, which also keeps a query from raising its own limits and
from the functions that reach outside of the database (2 would allow both).
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from consumers.warehouse import CLICKHOUSE, Found, Warehouse
from millstream.console.plain import without_secrets
from millstream.errors import DependencyUnavailable, MillstreamError, OperatorNeeded
from millstream.settings import ConsoleSettings, WarehouseSettings

READ_ONLY: Final = 1
PAGE_S_MAX: Final = 20
ANSWER_S_MAX: Final = 10.0
"""Beyond a query's own limit: for connecting, and for the answer's way."""
KEPT_MAX: Final = 200
"""Answers kept; look-ups of many events must not fill our memory."""

_log = logging.getLogger(__name__)


class Reach:
    """Connects at the first question, and again after a failure. Used by many threads."""

    def __init__(self, warehouse: WarehouseSettings, console: ConsoleSettings) -> None:
        wait_s = max(PAGE_S_MAX, console.query_s_max) + ANSWER_S_MAX
        self._settings = warehouse.model_copy(update={"timeout_s": wait_s})
        self._limits = {
            "readonly": READ_ONLY,
            "max_execution_time": PAGE_S_MAX,
            "max_memory_usage": console.query_bytes_max,
        }
        self._lock = threading.Lock()
        self._is_closed = False
        self._warehouse: Warehouse | None = None

    def warehouse(self) -> Warehouse:
        """The client. Raises SettingsInvalid where nobody answers, DependencyUnavailable after
        `close`."""
        with self._lock:
            if self._is_closed:
                raise DependencyUnavailable(CLICKHOUSE, "the console has let go of it")
            if self._warehouse is None:
                self._warehouse = Warehouse.connect(self._settings)
            return self._warehouse

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a SELECT. Raises as Warehouse.look."""
        return self.look(sql, {}, **parameters).rows

    def look(self, sql: str, limits: dict[str, Any], /, **parameters: Any) -> Found:
        """As `rows`, with names and types; limits: settings beside ours, which win over them."""
        return self.warehouse().look(sql, self._limits | limits, **parameters)

    def close(self) -> None:
        """Let go of the client for good: a look that runs on connects no other."""
        with self._lock:
            self._is_closed = True
            if self._warehouse is not None:
                self._warehouse.close()
                self._warehouse = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something could not be looked at. what: the dependency, or the console itself."""

    what: str
    problem: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        return {"what": self.what, "problem": self.problem, "remedy": self.remedy}


def trouble_of(error: Exception, what: str) -> Trouble:
    """An error as a person is told of it, without what its addresses may keep secret; one that is
    not ours is a fault of the console, and logged with its trace."""
    if isinstance(error, DependencyUnavailable):
        reason = without_secrets(error.reason)
        return Trouble(error.dependency, reason, "It is tried again by itself")
    if isinstance(error, OperatorNeeded):
        return Trouble(what, without_secrets(error.problem), without_secrets(error.remedy))
    trace = "".join(traceback.format_exception(error))
    _log.error("the console failed\n%s", without_secrets(trace))
    return Trouble("console", f"{type(error).__name__} in the console", "Its log says more")


@dataclass(slots=True)
class _Kept:
    data: Any = None
    at_s: float | None = None
    tried_s: float | None = None
    trouble: Trouble | None = None


class Answers:
    """What was last answered to each question, so that it can be shown, with its age, while its
    source is away. clock: seconds since 1970.

    A question is asked once at a time and not more often than its `fresh_s`, however many look.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[threading.Lock, _Kept]] = OrderedDict()

    def get(
        self, question: str, what: str, fresh_s: float, ask: Callable[[], Any]
    ) -> dict[str, Any]:
        """The envelope that a page gets: at (ms, of the data), data (None: never had), error."""
        with self._lock:
            lock, kept = self._kept.setdefault(question, (threading.Lock(), _Kept()))
            self._kept.move_to_end(question)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        with lock:
            now = self._clock()
            if kept.tried_s is None or now - kept.tried_s >= fresh_s:
                try:
                    kept.data, kept.trouble, kept.at_s = ask(), None, self._clock()
                except MillstreamError as why:
                    kept.trouble = trouble_of(why, what)
                except Exception as why:  # noqa: BLE001 - shown, and logged with its trace
                    kept.trouble = trouble_of(why, "console")
                kept.tried_s = self._clock()
            return {
                "at": None if kept.at_s is None else round(kept.at_s * 1_000),
                "data": kept.data,
                "error": None if kept.trouble is None else kept.trouble.as_json(),
            }
