"""ClickHouse's HTTP interface over the embedded engine.

One request: (1) may it ask at all, (2) what does it ask, (3) its body, decoded and complete, in a
spool, (4) the statement, run on a connection of its own, (5) the answer. Nothing runs before step 3
is done: a body that is damaged or cut short has changed nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import IO, Final, TypeVar

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ops.warehouse.encoding import request_decoder
from ops.warehouse.engine import Plan, Warehouse
from ops.warehouse.errors import Code, QueryFailed, failure
from ops.warehouse.protocol import (
    Ask,
    Summary,
    authenticate,
    content_type,
    parse_ask,
    refuse_foreign,
    refuse_session_statement,
)
from ops.warehouse.stream import HEAD_BYTES, ClientGone, Outlet, kill_until

log = logging.getLogger(__name__)

SPOOL_BYTES_MAX: Final = 1 << 20
"""A body up to this size stays in memory; a longer one goes to a nameless file in the warehouse."""

BODY_BYTES_MAX: Final = 4 << 30
"""A longer body, decoded, is refused: a few bytes of gzip must not fill the disk."""

READERS_MAX: Final = 32
WRITERS_MAX: Final = 8
"""Statements that run side by side; more wait. Queries have threads of their own, so that slow
ones, or slow clients, never keep an INSERT waiting."""

_SEND_BYTES = 1 << 18

T = TypeVar("T")


class Front:
    """The three routes.

    password: needed from every request that runs a statement; None if none is needed, and then the
    server must listen on loopback only (serve.py sees to it).
    """

    def __init__(self, warehouse: Warehouse, password: SecretStr | None) -> None:
        self.warehouse = warehouse
        self._password = None if password is None else password.get_secret_value()
        self._readers = ThreadPoolExecutor(READERS_MAX, "reader")
        self._writers = ThreadPoolExecutor(WRITERS_MAX, "writer")
        self._reaping: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Wait for what runs, then close the database."""
        self._readers.shutdown()
        self._writers.shutdown()
        self.warehouse.close()

    async def alive(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /ping and /replicas_status: needs no password, runs nothing."""
        try:
            refuse_foreign(Request(scope).headers, self._password is None)
        except QueryFailed as error:
            await self._fail(send, error, "")
            return
        await self._send(send, 200, b"Ok.\n", {"content-type": "text/plain; charset=UTF-8"})

    async def query(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET or POST /: one statement."""
        request = Request(scope, receive)
        query_id = str(uuid.uuid4())
        try:
            ask = self._admit(request, query_id)
            query_id = ask.query_id
            if request.method != "POST" and not scope["query_string"]:
                await self._send(send, 200, b"Ok.\n", {"content-type": "text/plain; charset=UTF-8"})
                return
            await self._serve(ask, request, receive, send)
        except (ClientDisconnect, ClientGone):
            return
        except QueryFailed as error:
            await self._fail(send, error, query_id)
        except Exception:
            log.exception("query %s met a bug in this server; the server goes on", query_id)
            bug = failure(Code.STD_EXCEPTION, "A bug in the warehouse server; its log says more")
            await self._fail(send, bug, query_id)

    def _admit(self, request: Request, new_id: str) -> Ask:
        url_query = request.scope["query_string"].decode("latin-1")
        refuse_foreign(request.headers, self._password is None)
        authenticate(request.headers, url_query, self._password)
        return parse_ask(request.method, url_query, request.headers, new_id)

    async def _serve(self, ask: Ask, request: Request, receive: Receive, send: Send) -> None:
        with tempfile.SpooledTemporaryFile(
            SPOOL_BYTES_MAX, dir=str(self.warehouse.scratch)
        ) as body:
            await _spool(ask, request, body)
            plan = await self._run_in(self._writers, lambda: self._plan(ask, body))
            reads = plan.kind == "select"
            self.warehouse.reserve(ask.query_id, stoppable=reads)
            if not reads:
                # A client that leaves now changes nothing: the statement runs to its end.
                write = self._run_in(self._writers, lambda: self._write(ask, plan, body))
                answer, summary = await asyncio.shield(write)
                await self._send(send, 200, answer, self._headers(ask, plan, summary))
        if reads:
            await self._select(ask, plan, receive, send)

    def _plan(self, ask: Ask, body: IO[bytes]) -> Plan:
        plan = self.warehouse.plan(ask, body)
        refuse_session_statement(ask, plan.word, plan.statement)
        return plan

    def _write(self, ask: Ask, plan: Plan, body: IO[bytes]) -> tuple[bytes, Summary]:
        try:
            if plan.kind == "insert":
                return b"", self.warehouse.insert(ask, plan, body)
            return self.warehouse.run(ask, plan)
        finally:
            self.warehouse.release(ask.query_id)

    # -- answers that stream

    async def _select(self, ask: Ask, plan: Plan, receive: Receive, send: Send) -> None:
        try:
            outlet = Outlet(self.warehouse.scratch / f"{uuid.uuid4()}.pipe")
        except OSError:
            self.warehouse.release(ask.query_id)
            raise
        gone = asyncio.ensure_future(_disconnected(receive))
        job = self._readers.submit(self.warehouse.select, ask, plan, outlet.path)
        select = asyncio.wrap_future(job)

        def ended(future: asyncio.Future[Summary]) -> None:
            self.warehouse.release(ask.query_id)
            outlet.query_ended()
            if not future.cancelled():
                future.exception()  # seen, also where nobody waits for it any more

        select.add_done_callback(ended)
        try:
            await outlet.open(gone)
            await self._pass_on(ask, plan, outlet, select, send)
        finally:
            gone.cancel()
            outlet.close()
            # Not select.cancel(): that would only forget a query that has begun.
            if not select.done() and not job.cancel():
                killing = kill_until(select, lambda: self.warehouse.kill(ask.query_id))
                task = asyncio.ensure_future(killing)
                self._reaping.add(task)
                task.add_done_callback(self._reaping.discard)

    async def _pass_on(
        self, ask: Ask, plan: Plan, outlet: Outlet, select: asyncio.Future[Summary], send: Send
    ) -> None:
        """Send the answer; a failure after its first byte ends the connection in the middle."""
        with tempfile.SpooledTemporaryFile(HEAD_BYTES, dir=str(self.warehouse.scratch)) as head:
            ended = await outlet.fill(head, None if ask.wait_end_of_query else HEAD_BYTES)
            summary = await asyncio.shield(select) if ended else Summary()
            headers = self._headers(ask, plan, summary)
            tag = secrets.token_hex(8)
            if ask.encoding:
                headers["content-encoding"] = ask.encoding
            if ended:
                headers["content-length"] = str(head.tell())
            else:
                headers["x-clickhouse-exception-tag"] = tag
            await _start(send, 200, self._own(headers))
            head.seek(0)
            while data := head.read(_SEND_BYTES):
                await _body(send, data, more=True)
        while not ended and (data := await outlet.chunk()):
            await _body(send, data, more=True)
        try:
            await asyncio.shield(select)
        except QueryFailed as error:
            if not ask.encoding:  # inside of a compressed stream nobody could read it
                await _body(send, _exception_block(tag, error), more=True)
            return
        await _body(send, b"", more=False)

    # -- answers

    def _headers(self, ask: Ask, plan: Plan, summary: Summary) -> dict[str, str]:
        shape = plan.format if plan.kind != "insert" else ask.default_format
        return {
            "content-type": content_type(shape),
            "x-clickhouse-query-id": _safe(ask.query_id),
            "x-clickhouse-format": shape,
            "x-clickhouse-summary": summary.header(),
        }

    def _own(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            "x-clickhouse-server-display-name": self.warehouse.display_name,
            "x-clickhouse-timezone": self.warehouse.timezone,
            **headers,
        }

    async def _send(self, send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
        await _start(send, status, self._own(headers | {"content-length": str(len(body))}))
        await _body(send, body, more=False)

    async def _fail(self, send: Send, error: QueryFailed, query_id: str) -> None:
        headers = {
            "content-type": "text/plain; charset=UTF-8",
            "x-clickhouse-exception-code": str(error.code),
            "x-clickhouse-query-id": _safe(query_id),
        }
        if error.status == 401:
            headers["www-authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        with suppress(RuntimeError):  # the answer has begun: the connection breaks off instead
            await self._send(
                send, error.status, error.text.encode(errors="replace") + b"\n", headers
            )

    def _run_in(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(pool, work)


async def _spool(ask: Ask, request: Request, body: IO[bytes]) -> None:
    """Write ?query= and the whole decoded request body to `body`.

    Raises QueryFailed (damaged, too large), after the rest of the body has been read and dropped:
    a client that still sends would not hear the answer. Raises ClientDisconnect.
    """
    if ask.query:
        # One line feed stands between the two, whatever white space the parameter ends in.
        body.write(ask.query.rstrip() + b"\n")
    refused: QueryFailed | None = None
    size = 0
    decoder = None
    async for data in request.stream():
        if refused is not None:
            continue
        try:
            decoder = decoder or request_decoder(request.headers.get("content-encoding", ""))
            for piece in decoder.feed(data):
                size += len(piece)
                if size > BODY_BYTES_MAX:
                    reason = f"The decoded body is longer than {BODY_BYTES_MAX} bytes"
                    raise failure(Code.QUERY_IS_TOO_LARGE, reason)
                body.write(piece)
        except QueryFailed as error:
            refused = error
    if refused is not None:
        raise refused
    if decoder is not None:
        decoder.finish()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _body(send: Send, data: bytes, more: bool) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def _safe(text: str) -> str:
    """A client's text as a header's value: no line ends."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _exception_block(tag: str, error: QueryFailed) -> bytes:
    """How ClickHouse tells, in the body, of an error after the first byte."""
    text = error.text.encode(errors="replace") + b"\n"
    opening = f"\r\n__exception__\r\n{tag}\r\n".encode()
    return opening + text + f"{len(text)} {tag}\r\n__exception__\r\n".encode()


class _Endpoint:
    """A bare ASGI application, as Starlette wants it in a route."""

    def __init__(self, call: Callable[[Scope, Receive, Send], object]) -> None:
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)  # type: ignore[misc]


def make_app(warehouse: Warehouse, password: SecretStr | None) -> Starlette:
    """The ASGI application; it closes the warehouse when it ends."""
    front = Front(warehouse, password)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(front.close)

    routes = [
        Route("/", _Endpoint(front.query), methods=["GET", "POST"]),
        Route("/ping", _Endpoint(front.alive), methods=["GET"]),
        Route("/replicas_status", _Endpoint(front.alive), methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
