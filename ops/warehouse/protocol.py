"""What an HTTP request asks of ClickHouse. Pure: parameters and headers in, an `Ask` out."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from millstream.hosts import host_of, is_loopback
from ops.warehouse.encoding import response_encoding
from ops.warehouse.errors import Code, failure

USER = "default"
"""The embedded engine has this user only."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IGNORED = frozenset(
    # Accepted and without effect here. client_protocol_version: Native stays at its oldest
    # revision, which clients find out by asking. log_comment: carries our query id.
    re.findall(
        r"\w+",
        """user password quota_key stacktrace buffer_size session_timeout close_session
        client_protocol_version log_comment""",
    )
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, before its body is read.

    query: the bytes of ?query=. settings: ClickHouse settings as text, in the order given.
    parameters: values for {name:Type} as the protocol writes them (escaped like TSV).
    readonly: the request may not change anything (GET). encoding: the answer's compression, or "".
    """

    query: bytes
    query_id: str
    database: str
    default_format: str
    session_id: str
    wait_end_of_query: bool
    readonly: bool
    encoding: str
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)


def _is_true(name: str, text: str) -> bool:
    if text.lower() in {"1", "true"}:
        return True
    if text.lower() in {"0", "false", ""}:
        return False
    raise failure(Code.BAD_ARGUMENTS, f"The parameter {name} is 0 or 1, not '{text}'")


def parse_ask(method: str, url_query: str, headers: Mapping[str, str], new_id: str) -> Ask:
    """Read the URL's parameters and the headers.

    url_query: what stands behind "?", still percent-encoded. headers: names in small letters.
    new_id: the query id if the client names none. Raises QueryFailed for what is not supported.
    """
    fields = parse_qsl(url_query, keep_blank_values=True, errors="surrogateescape")
    if headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise failure(Code.NOT_IMPLEMENTED, "External tables (multipart bodies) are not supported")
    seen: dict[str, str] = {}
    settings: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, value in fields:
        if name.startswith("param_"):
            if not _IDENTIFIER.fullmatch(name):
                raise failure(Code.BAD_ARGUMENTS, f"'{name}' cannot name a query parameter")
            parameters[name.removeprefix("param_")] = value
        elif name in _PLACED:
            seen.setdefault(name, value)
        elif name and name not in _IGNORED:
            if not _NAME.fullmatch(name):
                raise failure(Code.BAD_ARGUMENTS, f"'{name}' cannot be the name of a setting")
            settings[name] = value
    _refuse_unsupported(seen)
    shape = headers.get("x-clickhouse-format") or seen.get("default_format") or "TabSeparated"
    if not _IDENTIFIER.fullmatch(shape):
        raise failure(Code.BAD_ARGUMENTS, f"'{shape}' cannot be the name of a format")
    compress = _is_true("enable_http_compression", settings.get("enable_http_compression", "0"))
    return Ask(
        query=seen.get("query", "").encode("utf-8", "surrogateescape"),
        query_id=seen.get("query_id") or headers.get("x-clickhouse-query-id") or new_id,
        database=headers.get("x-clickhouse-database") or seen.get("database", ""),
        default_format=shape,
        session_id=seen.get("session_id", ""),
        wait_end_of_query=_is_true("wait_end_of_query", seen.get("wait_end_of_query", "0")),
        readonly=method in {"GET", "HEAD"},
        encoding=response_encoding(headers.get("accept-encoding", "")) if compress else "",
        settings=settings,
        parameters=parameters,
    )


_PLACED = frozenset(
    re.findall(
        r"\w+",
        """query query_id database default_format session_id session_check wait_end_of_query
        compress decompress role""",
    )
)


def _refuse_unsupported(seen: Mapping[str, str]) -> None:
    for name in ("compress", "decompress"):
        if _is_true(name, seen.get(name, "0")):
            reason = f"{name}=1 (native block compression) is not supported; use HTTP compression"
            raise failure(Code.NOT_IMPLEMENTED, reason)
    if seen.get("role"):
        raise failure(Code.NOT_IMPLEMENTED, "The embedded database has no roles")
    if _is_true("session_check", seen.get("session_check", "0")):
        raise failure(Code.SESSION_NOT_FOUND, "This server keeps no sessions")


def refuse_session_statement(ask: Ask, word: str, statement: bytes) -> None:
    """Refuse, inside a session, a statement whose only effect would be on the session."""
    if not ask.session_id:
        return
    temporary = re.match(rb"\s*CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY\s", statement, re.IGNORECASE)
    if word in {"SET", "USE"} or temporary:
        reason = (
            f"This server keeps no sessions, so {'a temporary table' if temporary else word} would "
            "be forgotten; send settings and database with each request"
        )
        raise failure(Code.NOT_IMPLEMENTED, reason)


# -- who may ask ----------------------------------------------------------------------------------


def refuse_foreign(headers: Mapping[str, str], loopback_only: bool) -> None:
    """Refuse what a web page of another site sends through a browser on this machine.

    loopback_only: the server listens on loopback without a password, so that a Host naming any
    other machine is DNS rebinding. Raises QueryFailed (ACCESS_DENIED).
    """
    host = headers.get("host", "")
    if loopback_only and not is_loopback(host_of(host)):
        reason = f"The Host header names '{host}'; this server answers on loopback only"
        raise failure(Code.ACCESS_DENIED, reason)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise failure(Code.ACCESS_DENIED, f"Web pages of '{origin}' may not use this server")
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise failure(Code.ACCESS_DENIED, "Web pages of other sites may not use this server")


def authenticate(headers: Mapping[str, str], url_query: str, password: str | None) -> None:
    """Check user and password, from X-ClickHouse-User/Key, basic auth, or the URL.

    password: None if none is needed; then any password is right, as for ClickHouse's default user.
    Raises QueryFailed (REQUIRED_PASSWORD, AUTHENTICATION_FAILED).
    """
    given = _credentials(headers, dict(parse_qsl(url_query, errors="surrogateescape")))
    if given is None:
        if password is None:
            return
        raise failure(Code.REQUIRED_PASSWORD, f"{USER}: Authentication failed: password required")
    user, key = given
    expected = "" if password is None else password
    key_is_right = password is None or hmac.compare_digest(
        key.encode("utf-8", "surrogateescape"), expected.encode()
    )
    if user != USER or not key_is_right:
        reason = (
            f"{user}: Authentication failed: password is incorrect, "
            "or there is no user with such name"
        )
        raise failure(Code.AUTHENTICATION_FAILED, reason)


def _credentials(headers: Mapping[str, str], fields: Mapping[str, str]) -> tuple[str, str] | None:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        user = headers.get("x-clickhouse-user") or USER
        return user, headers.get("x-clickhouse-key", "")
    scheme, _, text = headers.get("authorization", "").partition(" ")
    if scheme:
        try:
            decoded = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            decoded = ""
        if scheme.lower() != "basic" or ":" not in decoded:
            reason = "Only basic authentication is supported, as base64 of user:password"
            raise failure(Code.AUTHENTICATION_FAILED, reason)
        user, _, key = decoded.partition(":")
        return user or USER, key
    if "user" in fields or "password" in fields:
        return fields.get("user") or USER, fields.get("password", "")
    return None


# -- the answer -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Summary:
    """What a query did, for X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_s: float = 0.0

    def header(self) -> str:
        """The header's JSON: every number as a string, as the server writes it."""
        return json.dumps(
            {
                "read_rows": str(self.read_rows),
                "read_bytes": str(self.read_bytes),
                "written_rows": str(self.written_rows),
                "written_bytes": str(self.written_bytes),
                "total_rows_to_read": "0",
                "result_rows": str(self.written_rows),
                "result_bytes": str(self.written_bytes),
                "elapsed_ns": str(int(self.elapsed_s * 1e9)),
            },
            separators=(",", ":"),
        )


_CONTENT_TYPES = (
    (
        re.compile(r"JSON(Strings|Columns|Compact|CompactStrings|CompactColumns)?"),
        "application/json",
    ),
    (re.compile(r"JSON.*Row.*"), "application/x-ndjson"),
    (re.compile(r"CSV.*"), "text/csv"),
    (re.compile(r"(TabSeparated|TSV).*"), "text/tab-separated-values"),
    (re.compile(r"Pretty.*|Vertical|Values|XML|Markdown|SQLInsert|LineAs.*"), "text/plain"),
)


def content_type(format_name: str) -> str:
    """The media type of an output format."""
    for pattern, media_type in _CONTENT_TYPES:
        if pattern.fullmatch(format_name):
            return f"{media_type}; charset=UTF-8"
    return "application/octet-stream"
