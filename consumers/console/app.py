"""The console's routes. Pages are one HTML file; what they show comes from /api/..., as JSON, and
from /api/live, as server-sent events.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

from consumers.console.box import SQL_CHARS_MAX, Box
from consumers.console.guard import COOKIE, Guard
from consumers.console.health import Healths
from consumers.console.hub import Hub
from consumers.console.lag import Lag
from consumers.console.live import Live
from consumers.console.lookup import Lookup
from consumers.console.models import Models
from consumers.console.pages import Pages
from consumers.console.reach import Answers, Reach
from consumers.warehouse import CLICKHOUSE
from millstream.console.plain import plain_object
from millstream.console.sessions import KEY_BYTES, Password, Sessions
from millstream.settings import ConsoleSettings, KafkaSettings, WarehouseSettings
from millstream.sql.cookbook import cookbook
from millstream.stream import Stream

STATIC: Final = Path(__file__).resolve().parent / "static"
PATHS: Final = (
    "/", "/performance", "/drift", "/incidents", "/models", "/letters", "/lookup", "/sql",
)  # fmt: skip
LOGIN_BYTES_MAX: Final = 4_096
LOGINS_WAITING_MAX: Final = 8
WRONG_S: Final = 1.0
"""A wrong password is answered so late, one after the other: guessing is slow for everybody."""
QUERIES_MAX: Final = 2
"""Queries of the SQL page that run at once; more are told to wait."""
PARAMETER: Final = "param_"
_FRESH_S: Final = {"performance": 10.0, "models": 10.0, "drift": 4.0}
"""Pages that are dear are made no more often; the others are new within a second."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a console is of. targets: where the programs say at which port each tells its health
    (MILLSTREAM_METRICS_TARGETS). clock: seconds since 1970."""

    stream: Stream
    kafka: KafkaSettings
    warehouse: WarehouseSettings
    settings: ConsoleSettings
    targets: Path | None = None
    clock: Callable[[], float] = time.time


class Console:
    """The parts of one console, and its ASGI application. Close it."""

    def __init__(self, given: Given) -> None:
        stream, settings = given.stream, given.settings
        self.given = given
        self.reach = Reach(given.warehouse, settings)
        self.lag = Lag(stream, given.kafka, given.clock)
        self.hub = Hub(
            {
                CLICKHOUSE: Live(stream, self.reach, given.clock).look,
                "Kafka": self.lag.look,
                "programs": Healths(given.targets, stream.name).look,
            },
            settings.poll_s,
            given.clock,
        )
        self.answers = Answers(given.clock)
        self.pages = Pages(
            stream, self.reach, settings.performance_rows_max, lambda: int(given.clock() * 1e6)
        )
        self.models = Models(stream, self.reach)
        self.lookup = Lookup(stream, self.reach)
        self.box = Box(self.reach, settings, stream.name)
        self.password = Password.of(settings)
        self.sessions = (
            None
            if self.password is None
            else Sessions(secrets.token_bytes(KEY_BYTES), settings.session_s)
        )
        self.app = self._app()

    def close(self) -> None:
        """Let go of everything; no request may be running."""
        self.hub.close()
        self.lag.close()
        self.models.close()
        self.reach.close()

    def about(self) -> dict[str, Any]:
        """What every page needs to know of the stream."""
        stream = self.given.stream
        return plain_object(
            {
                "stream": stream.name,
                "kind": stream.label.kind,
                "features": stream.features.order,
                "budget_ms": stream.serving.latency_budget_ms,
                "guarantee": stream.serving.guarantee,
                "partitions": stream.serving.partitions,
                "embedded": self.given.kafka.embedded,
                "id": stream.event.id,
                "limits": self.box.limits,
                "login": self.sessions is not None,
            }
        )

    def _app(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            yield
            await asyncio.to_thread(self.close)

        app = FastAPI(
            title="Millstream", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
        )
        app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5)
        app.add_middleware(Guard, sessions=self.sessions, clock=self.given.clock)
        _pages(app)
        _answers(app, self)
        _live(app, self)
        _sql(app, self)
        if self.sessions is not None:
            _login(app, self, self.sessions)
        return app


def _pages(app: FastAPI) -> None:
    def index() -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-store"})

    for path in PATHS:
        app.add_api_route(path, index, methods=["GET"])

    @app.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _answers(app: FastAPI, console: Console) -> None:
    """Everything with an envelope: see Answers.get. FastAPI runs these in threads."""

    def kept(name: str, question: str, ask: Callable[[], Any]) -> dict[str, Any]:
        return console.answers.get(question, CLICKHOUSE, _FRESH_S.get(name, 1.0), ask)

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return console.about()

    @app.get("/api/performance")
    def performance() -> dict[str, Any]:
        return kept("performance", "performance", console.pages.performance)

    @app.get("/api/drift")
    def drift(measure: str = "psi") -> dict[str, Any]:
        return kept("drift", f"drift {measure[:40]}", lambda: console.pages.drift(measure))

    @app.get("/api/incidents")
    def incidents() -> dict[str, Any]:
        return kept("incidents", "incidents", console.pages.incidents)

    @app.get("/api/models")
    def models() -> dict[str, Any]:
        return kept("models", "models", console.models.overview)

    @app.get("/api/card")
    def card(name: str, version: str) -> dict[str, Any]:
        return kept(
            "card", f"card {name[:130]}@{version[:130]}", lambda: console.models.card(name, version)
        )

    @app.get("/api/letters")
    def letters() -> dict[str, Any]:
        return kept("letters", "letters", console.pages.letters)

    @app.get("/api/letters/of")
    def letters_of(stage: str, error: str, version: str, schema: int = -1) -> dict[str, Any]:
        cause = (stage[:100], error[:200], version[:200], schema)
        return kept("letters", f"letters {cause}", lambda: console.pages.letters_of(*cause))

    @app.get("/api/lookup")
    def lookup(q: str = "") -> dict[str, Any]:
        return kept("lookup", f"lookup {q[:1_001]}", lambda: console.lookup.find(q))

    @app.get("/api/tables")
    def tables() -> dict[str, Any]:
        return kept("tables", "tables", console.pages.tables)


def _live(app: FastAPI, console: Console) -> None:
    @app.get("/api/live")
    async def live() -> Response:
        if console.hub.is_full:
            return Response("too many browsers look at this console", 503)
        return StreamingResponse(console.hub.frames(), media_type="text/event-stream")


def _sql(app: FastAPI, console: Console) -> None:
    running = asyncio.Semaphore(QUERIES_MAX)

    @app.get("/api/cookbook")
    def questions() -> dict[str, Any]:
        return {"recipes": [asdict(recipe) for recipe in cookbook().values()]}

    @app.get("/api/sql")
    async def sql(
        request: Request, q: str = Query("", max_length=2 * SQL_CHARS_MAX)
    ) -> dict[str, Any]:
        if running.locked():
            return {"error": f"{QUERIES_MAX} queries run already: try again when one is done"}
        async with running:
            return await asyncio.to_thread(console.box.run, q, _parameters(request))


def _parameters(request: Request) -> dict[str, str]:
    """Those of a query, named as ClickHouse's own interface names them: param_NAME=VALUE."""
    return {
        name.removeprefix(PARAMETER): value
        for name, value in request.query_params.items()
        if name.startswith(PARAMETER)
    }


def _login(app: FastAPI, console: Console, sessions: Sessions) -> None:
    one_at_a_time = asyncio.Lock()
    waiting = 0

    @app.get("/login")
    def page() -> Response:
        return FileResponse(STATIC / "login.html", headers={"cache-control": "no-store"})

    @app.post("/login")
    async def login(request: Request) -> Response:
        nonlocal waiting
        if waiting >= LOGINS_WAITING_MAX:
            return Response("too many logins at once: try again in a few seconds", 429)
        form = parse_qs(await _body(request), keep_blank_values=True)
        given, target = form.get("password", [""])[0], form.get("next", ["/"])[0]
        waiting += 1
        try:
            async with one_at_a_time:
                assert console.password is not None, "there are sessions"
                if not await asyncio.to_thread(console.password.is_right, given):
                    await asyncio.sleep(WRONG_S)
                    return RedirectResponse("/login?wrong=1", 303)
        finally:
            waiting -= 1
        answer = RedirectResponse(target if target in PATHS else "/", 303)
        answer.set_cookie(
            COOKIE,
            sessions.issue(console.given.clock(), secrets.token_urlsafe(12)),
            max_age=sessions.lasts_s,
            httponly=True,
            samesite="strict",
            secure=console.given.settings.https,
        )
        return answer

    @app.post("/logout")
    def logout() -> Response:
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


async def _body(request: Request) -> str:
    """A login's form; what is longer than any is cut, and then is wrong."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > LOGIN_BYTES_MAX:
            return ""
    return raw.decode("utf-8", "replace")
