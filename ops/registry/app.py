"""The embedded registry's HTTP side: the part of Confluent's REST API that clients of Avro use.

Paths, bodies, status and error codes are Confluent's (https://docs.confluent.io, "Schema Registry
API reference"). Left out, with a clear answer: deleting, other modes than READWRITE, schemas that
are not Avro, references between schemas.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from millstream.hosts import host_of, is_loopback
from ops.registry.avro_rules import Level, SchemaInvalid, parse, violations
from ops.registry.store import Store, Version

BODY_BYTES_MAX = 4 * 1024 * 1024
LEVEL_DEFAULT = Level.BACKWARD
_VERSION_MAX = 2**31 - 1
_DELETES = "this registry deletes nothing: register a new version, or use another subject"


class Answer(JSONResponse):
    """JSON under the media type that Confluent's clients expect."""

    media_type = "application/vnd.schemaregistry.v1+json"


class Refused(Exception):
    """An answer that is an error. status: HTTP's; code: Confluent's, whose first digits it is."""

    def __init__(self, status: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code
        self.reason = reason


def no_subject(subject: str) -> Refused:
    """The subject is not there."""
    return Refused(404, 40401, f"Subject '{subject}' not found.")


def no_version(number: int) -> Refused:
    """The subject has no such version."""
    return Refused(404, 40402, f"Version {number} not found.")


def no_schema(what: str) -> Refused:
    """No schema by that id, or the schema is not in the subject."""
    return Refused(404, 40403, f"Schema {what} not found")


class LoopbackOnly:
    """Answers 403 to a Host header that does not name this machine.

    A web page elsewhere can point its own name at 127.0.0.1 and have a browser call us; the
    browser then sends that name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not is_loopback(host_of(host)):
                refusal = _error(403, 403, f"Host {host!r} is not this machine")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Api:
    """The routes over one Store; everything runs in the event loop, one request after another."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def app(self) -> Starlette:
        """The ASGI application."""
        subject = "/subjects/{subject:path}"
        tested = "/compatibility/subjects/{subject:path}/versions"
        routes = [
            Route("/", self.root),
            Route("/schemas/types", self.types),
            Route("/schemas/ids/{id}", self.by_id),
            Route("/schemas/ids/{id}/schema", self.by_id_plain),
            Route("/schemas/ids/{id}/versions", self.uses),
            Route("/schemas/ids/{id}/subjects", self.users),
            Route("/subjects", self.subjects),
            Route(f"{subject}/versions", self.versions, methods=["GET"]),
            Route(f"{subject}/versions", self.register, methods=["POST"]),
            Route(f"{subject}/versions/{{version}}", self.version, methods=["GET"]),
            Route(f"{subject}/versions/{{version}}/schema", self.version_plain, methods=["GET"]),
            Route(f"{subject}/versions/{{version}}", self.deletes, methods=["DELETE"]),
            Route(subject, self.lookup, methods=["POST"]),
            Route(subject, self.deletes, methods=["DELETE"]),
            Route(tested, self.test_all, methods=["POST"]),
            Route(tested + "/{version}", self.test_one, methods=["POST"]),
            Route("/config", self.global_level, methods=["GET"]),
            Route("/config", self.set_level, methods=["PUT"]),
            Route("/config/{subject:path}", self.level, methods=["GET"]),
            Route("/config/{subject:path}", self.set_level, methods=["PUT"]),
            Route("/config/{subject:path}", self.clear_level, methods=["DELETE"]),
            Route("/mode", self.mode),
            Route("/mode/{subject:path}", self.mode),
        ]
        handlers: dict[Any, Any] = {
            Refused: _on_refused,
            SchemaInvalid: _on_invalid,
            OSError: _on_disk,
            HTTPException: _on_http,
        }
        return Starlette(routes=routes, exception_handlers=handlers)

    async def root(self, _request: Request) -> Response:
        """``GET /``: an empty object, by which clients see that somebody is there."""
        return Answer({})

    async def types(self, _request: Request) -> Response:
        """``GET /schemas/types``."""
        return Answer(["AVRO"])

    async def mode(self, _request: Request) -> Response:
        """``GET /mode`` and ``/mode/{subject}``."""
        return Answer({"mode": "READWRITE"})

    async def by_id(self, request: Request) -> Response:
        """``GET /schemas/ids/{id}``."""
        return Answer({"schema": self._by_id(request)})

    async def by_id_plain(self, request: Request) -> Response:
        """``GET /schemas/ids/{id}/schema``: the schema itself."""
        return PlainTextResponse(self._by_id(request), media_type=Answer.media_type)

    async def uses(self, request: Request) -> Response:
        """``GET /schemas/ids/{id}/versions``."""
        self._by_id(request)
        found = self._store.uses(int(request.path_params["id"]))
        return Answer([{"subject": each.subject, "version": each.number} for each in found])

    async def users(self, request: Request) -> Response:
        """``GET /schemas/ids/{id}/subjects``."""
        self._by_id(request)
        found = self._store.uses(int(request.path_params["id"]))
        return Answer(sorted({each.subject for each in found}))

    async def subjects(self, request: Request) -> Response:
        """``GET /subjects``, by prefix if asked."""
        prefix = request.query_params.get("subjectPrefix", "")
        return Answer(_page([s for s in self._store.subjects() if s.startswith(prefix)], request))

    async def versions(self, request: Request) -> Response:
        """``GET /subjects/{subject}/versions``."""
        return Answer(_page([each.number for each in self._versions(request)], request))

    async def version(self, request: Request) -> Response:
        """``GET /subjects/{subject}/versions/{version|latest}``."""
        return Answer(self._shown(self._version(request)))

    async def version_plain(self, request: Request) -> Response:
        """``GET /subjects/{subject}/versions/{version|latest}/schema``."""
        shown = self._shown(self._version(request))
        return PlainTextResponse(shown["schema"], media_type=Answer.media_type)

    async def register(self, request: Request) -> Response:
        """``POST /subjects/{subject}/versions``; the same schema again gets the same id."""
        subject = request.path_params["subject"]
        body = await _body(request)
        if body.get("id", -1) not in {-1, 0, None} or body.get("version", -1) not in {-1, 0, None}:
            raise Refused(422, 42205, "Ids and versions are given by the registry")
        text, parsed = _schema(body)
        known = self._store.find(subject, parsed)
        if known is None:
            reasons = violations(self._level(subject), parsed, self._parsed(subject))
            if reasons:
                earlier = "Schema being registered is incompatible with an earlier schema for"
                said = "; ".join(reasons)
                raise Refused(409, 409, f"{earlier} subject '{subject}': {said}")
            known = self._store.add(subject, text, parsed)
        return Answer({"id": known.schema_id})

    async def lookup(self, request: Request) -> Response:
        """``POST /subjects/{subject}``: under which version the schema is there."""
        _, parsed = _schema(await _body(request))
        self._versions(request)
        found = self._store.find(request.path_params["subject"], parsed)
        if found is None:
            raise no_schema("")
        return Answer(self._shown(found))

    async def test_all(self, request: Request) -> Response:
        """``POST /compatibility/subjects/{subject}/versions``: against what the level says."""
        _, parsed = _schema(await _body(request))
        subject = request.path_params["subject"]
        reasons = violations(self._level(subject), parsed, self._parsed(subject))
        return _verdict(request, reasons)

    async def test_one(self, request: Request) -> Response:
        """``POST /compatibility/subjects/{subject}/versions/{version|latest}``: that one alone."""
        _, parsed = _schema(await _body(request))
        number = _number(request)
        known = self._store.versions(request.path_params["subject"])
        if not known and number is None:  # as Confluent's: anything may be the first
            return _verdict(request, [])
        if not known:
            raise no_version(number or 0)
        version = self._version(request)
        stored = self._store.schema(version.schema_id)
        assert stored is not None, f"version {version} has no schema"
        level = self._level(version.subject)
        return _verdict(request, violations(level, parsed, [(version.number, stored.parsed)]))

    async def global_level(self, _request: Request) -> Response:
        """``GET /config``."""
        return Answer({"compatibilityLevel": self._store.level(None) or LEVEL_DEFAULT})

    async def level(self, request: Request) -> Response:
        """``GET /config/{subject}``."""
        subject = request.path_params["subject"]
        level = self._store.level(subject)
        if level is None and not _flag(request, "defaultToGlobal"):
            raise Refused(404, 40408, f"Subject '{subject}' has no compatibility level of its own")
        return Answer({"compatibilityLevel": level or self._level(subject)})

    async def set_level(self, request: Request) -> Response:
        """``PUT /config`` and ``/config/{subject}``."""
        asked = (await _body(request)).get("compatibility")
        if not isinstance(asked, str) or asked.upper() not in Level.__members__:
            valid = ", ".join(Level)
            raise Refused(422, 42203, f"Invalid compatibility level. Valid values are {valid}")
        self._store.set_level(request.path_params.get("subject"), Level(asked.upper()))
        return Answer({"compatibility": asked.upper()})

    async def clear_level(self, request: Request) -> Response:
        """``DELETE /config/{subject}``: back to the global level; answers the one it had."""
        subject = request.path_params["subject"]
        level = self._store.level(subject)
        if level is None:
            raise Refused(404, 40408, f"Subject '{subject}' has no compatibility level of its own")
        self._store.set_level(subject, None)
        return Answer({"compatibilityLevel": level})

    async def deletes(self, _request: Request) -> Response:
        """``DELETE``: refused, since records on topics may need any schema for ever."""
        raise Refused(405, 405, _DELETES)

    def _level(self, subject: str) -> Level:
        return self._store.level(subject) or self._store.level(None) or LEVEL_DEFAULT

    def _by_id(self, request: Request) -> str:
        asked = request.path_params["id"]
        stored = self._store.schema(int(asked)) if asked.isascii() and asked.isdigit() else None
        if stored is None:
            raise no_schema(asked)
        return stored.text

    def _versions(self, request: Request) -> list[Version]:
        subject = request.path_params["subject"]
        known = self._store.versions(subject)
        if not known:
            raise no_subject(subject)
        return known

    def _version(self, request: Request) -> Version:
        number = _number(request)
        known = self._versions(request)
        if number is None:
            return known[-1]
        if number > len(known):
            raise no_version(number)
        return known[number - 1]

    def _parsed(self, subject: str) -> list[tuple[int, Any]]:
        pairs = []
        for version in self._store.versions(subject):
            stored = self._store.schema(version.schema_id)
            assert stored is not None, f"version {version} has no schema"
            pairs.append((version.number, stored.parsed))
        return pairs

    def _shown(self, version: Version) -> dict[str, Any]:
        stored = self._store.schema(version.schema_id)
        assert stored is not None, f"version {version} has no schema"
        return {
            "subject": version.subject,
            "version": version.number,
            "id": version.schema_id,
            "schema": stored.text,
        }


async def _body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "")
    # A page's form or plain-text request crosses origins without asking; one of JSON does not.
    if "json" not in kind and "octet-stream" not in kind:
        raise Refused(415, 415, f"Content-Type {kind!r} is not JSON")
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > BODY_BYTES_MAX:
            raise Refused(413, 413, f"More than {BODY_BYTES_MAX} bytes")
    try:
        body = json.loads(bytes(read))
    except (ValueError, RecursionError) as error:
        raise Refused(400, 400, f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused(422, 42201, "The body is not a JSON object")
    return body


def _schema(body: dict[str, Any]) -> tuple[str, Any]:
    """The schema's text and what was parsed from it."""
    kind = body.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise Refused(422, 42201, f"This registry knows AVRO only, not {kind}")
    if body.get("references"):
        raise Refused(422, 42201, "This registry knows no references: put the types in one schema")
    text = body.get("schema")
    if not isinstance(text, str):
        raise Refused(422, 42201, "Empty schema")
    return text, parse(text)


def _number(request: Request) -> int | None:
    """The version asked for; None is the latest."""
    asked = request.path_params["version"]
    if asked in {"latest", "-1"}:
        return None
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= _VERSION_MAX:
        return int(asked)
    raise Refused(422, 42202, f"The specified version '{asked}' is not a valid version id")


def _flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() == "true"


def _page(items: list[Any], request: Request) -> list[Any]:
    try:
        offset = int(request.query_params.get("offset", "0"))
        limit = int(request.query_params.get("limit", "-1"))
    except ValueError as error:
        raise Refused(400, 400, "offset and limit are numbers") from error
    return items[offset:] if limit < 0 else items[offset : offset + limit]


def _verdict(request: Request, reasons: list[str]) -> Response:
    shown: dict[str, Any] = {"is_compatible": not reasons}
    if _flag(request, "verbose"):
        shown["messages"] = reasons
    return Answer(shown)


def _error(status: int, code: int, reason: str) -> Response:
    return Answer({"error_code": code, "message": reason}, status_code=status)


async def _on_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _error(error.status, error.code, error.reason)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    return _error(422, 42201, f"Invalid schema: {error}")


async def _on_disk(_request: Request, error: Exception) -> Response:
    return _error(500, 50001, f"The registry's disk refused it: {error}")


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.status_code, HTTPStatus(error.status_code).phrase)
