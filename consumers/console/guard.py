"""What stands before every page: whose request it is, whether it may, and what a browser may do.

Everything is a GET but login and logout, and those two are refused from other sites; so there is
nothing that a foreign page could make a browser do. On loopback without a password, the Host must
name this machine (DNS rebinding). Headers: a page may load from the console alone, run no script
written into it, and be framed by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millstream.console.sessions import Sessions
from millstream.hosts import host_of, is_loopback

COOKIE: Final = "millstream_console"
OPEN_PATHS: Final = ("/login", "/static/", "/favicon.ico")
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_METHODS: Final = {"GET", "HEAD"}
_POSTS: Final = {"/login", "/logout"}


class Guard:
    """ASGI. sessions: None where no login is needed. clock: seconds since 1970."""

    def __init__(self, app: ASGIApp, sessions: Sessions | None, clock: Callable[[], float]) -> None:
        self._app = app
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(said: Message) -> None:
            if said["type"] == "http.response.start":
                headers = MutableHeaders(scope=said)
                for name, value in HEADERS.items():
                    headers[name] = value
                is_file = scope["path"].startswith("/static/")
                headers["cache-control"] = "no-cache" if is_file else "no-store"
            await send(said)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the page; None: it may pass."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if method not in _METHODS and not (method == "POST" and path in _POSTS):
            return PlainTextResponse("only GET", 405, {"allow": "GET, HEAD"})
        if (foreign := self._foreign(headers, method, path)) is not None:
            return PlainTextResponse(foreign, 403)
        if self._sessions is None or path.startswith(OPEN_PATHS) or self.is_known(headers):
            return None
        if path.startswith("/api/"):
            return JSONResponse({"login": True}, 401)
        return RedirectResponse(f"/login?next={quote(path, safe='/')}", 303)

    def is_known(self, headers: Headers) -> bool:
        """Whether a session of ours comes with the request."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        assert self._sessions is not None, "asked only where there are sessions"
        return cookie is not None and self._sessions.holds(cookie.value, self._clock())

    def _foreign(self, headers: Headers, method: str, path: str) -> str | None:
        host = headers.get("host", "")
        if self._sessions is None and not is_loopback(host_of(host)):
            return f"this console answers on loopback only, not as {host[:100]!r}"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "pages of other sites may not use the console"
        site = headers.get("sec-fetch-site", "none")
        asked = method == "POST" or path.startswith("/api/")
        if asked and site not in {"none", "same-origin"}:
            return "pages of other sites may not use the console"
        return None
