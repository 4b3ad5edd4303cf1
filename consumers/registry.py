"""The schema registry as our programs see it, and the one place that knows its client's errors.

===================================== =============================================
what the registry does                what is raised
===================================== =============================================
no connection, timeout, 408, 429, 5xx DependencyUnavailable: keep the record, wait
no such schema id (404, code 40403)   RecordRefused, stage FRAME, unknown_schema_id
incompatible (409), invalid (422)     ContractMismatch, with its reasons
anything else (401, 403, an HTML page) OperatorNeeded: the URL or the account is wrong
===================================== =============================================

A plain 404 is the last kind on purpose: a wrong path in the URL must stop the program, not refuse
every record.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx  # the one the client uses
from confluent_kafka.schema_registry.error import SchemaRegistryError

from millstream.errors import (
    ContractMismatch,
    DependencyUnavailable,
    OperatorNeeded,
    RecordRefused,
    SettingsInvalid,
    Stage,
)
from millstream.settings import RegistrySettings

SCHEMA_ID_MAX: Final = 2**31 - 1  # ids are Java ints
_NAME: Final = "schema registry"
_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA = 40401, 40402, 40403
_UNAVAILABLE: Final = frozenset({408, 429})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """One version of a subject. schema: the Avro JSON text."""

    schema_id: int
    version: int
    schema: str


class _Missing(Exception):
    """The registry says, in its own words, that there is no such thing."""


def subject_of(topic: str) -> str:
    """The subject of a topic's values (Confluent's TopicNameStrategy).

    >>> subject_of("loans.events")
    'loans.events-value'
    """
    return f"{topic}-value"


class Registry:
    """A Confluent-compatible schema registry.

    settings: its URL, such as ``http://127.0.0.1:8081`` (Apicurio's has ``/apis/ccompat/v7``
        behind it), and the user and password that it may want. Certificates of an ``https`` URL
        are checked against those that SSL_CERT_FILE or SSL_CERT_DIR name, or the public ones.
    timeout_s: for one try. Too low and a slow registry looks like a dead one; too high and a
        scorer stands still for (retries_max + 1) times as long before it says so.
    retries_max: further tries of a call that found nobody, each after at most a second.

    May be shared by threads. Raises SettingsInvalid when the URL cannot be used.
    """

    def __init__(
        self, settings: RegistrySettings, *, timeout_s: float = 4.0, retries_max: int = 2
    ) -> None:
        properties: dict[str, Any] = {
            "url": settings.url,
            "timeout": timeout_s,
            "max.retries": retries_max,
            "retries.wait.ms": 200,
            "retries.max.wait.ms": 1_000,
        }
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password else ""
            properties["basic.auth.user.info"] = f"{settings.username}:{password}"
        try:
            self.url = _without_password(settings.url)
            self._client: Any = SchemaRegistryClient(properties)  # its type stubs are older
        except (ValueError, TypeError, OSError) as error:
            raise SettingsInvalid(
                f"MILLSTREAM_REGISTRY_*: the schema registry's client refuses them: {error}",
                "Correct the URL, the user or the password",
            ) from error
        self._schemas: dict[int, str] = {}

    def schema(self, schema_id: int) -> str:
        """The Avro JSON of an id. An id never changes its schema, so each is fetched once.

        Raises RecordRefused: nobody registered the id (asked again at the next call, a network
        round trip each, so ask once per batch), or its schema is not Avro or has references.
        """
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        unknown = RecordRefused(
            Stage.FRAME, "unknown_schema_id", f"schema id {schema_id} is not in the registry"
        )
        if not 0 <= schema_id <= SCHEMA_ID_MAX:
            raise unknown
        try:
            found = self._ask(
                f"schema id {schema_id}",
                lambda: _shaped(self._client.get_schema(schema_id)),
                _NO_SCHEMA,
            )
        except _Missing:
            raise unknown from None
        if found.schema_type not in {None, "AVRO"} or found.references:
            reason = f"schema id {schema_id} is {found.schema_type}, or has references"
            raise RecordRefused(Stage.FRAME, "schema_not_avro", reason)
        text: str = found.schema_str
        self._schemas[schema_id] = text
        return text

    def register(self, subject: str, schema: str) -> int:
        """The id of the schema, which from now on is a version of the subject.

        Registering it again, even with other white space, gives the same id.
        Raises ContractMismatch: not an Avro schema, or it does not fit the subject's versions.
        """
        text = _compact(subject, schema)
        return self._ask(
            f"subject {subject}",
            lambda: int(self._client.register_schema(subject, Schema(text, "AVRO"), True)),
        )

    def latest(self, subject: str) -> RegisteredSchema | None:
        """The newest version of a subject; None where the subject is not there."""

        def read() -> RegisteredSchema:
            # get_latest_version() would remember its first answer for ever
            found = self._client.get_version(subject, "latest")
            text = _shaped(found.schema).schema_str
            return RegisteredSchema(int(found.schema_id), int(found.version), text)

        try:
            return self._ask(f"subject {subject}", read, _NO_SUBJECT, _NO_VERSION)
        except _Missing:
            return None

    def compatible(self, subject: str, schema: str) -> list[str]:
        """Why the schema could not be registered now; [] if it could.

        Raises ContractMismatch: not an Avro schema.
        """
        body = {"schema": _compact(subject, schema), "schemaType": "AVRO"}
        path = f"compatibility/subjects/{quote(subject, safe='')}/versions?verbose=true"

        def test() -> list[str]:
            # the client's own method throws the reasons away
            answer = self._client._rest_client.post(path, body)
            if answer["is_compatible"]:
                return []
            said = answer.get("messages") or [answer.get("reason")]  # Confluent's, or Apicurio's
            return [str(each) for each in said if each] or ["the registry gives no reason"]

        try:
            return self._ask(f"subject {subject}", test, _NO_SUBJECT, _NO_VERSION)
        except _Missing:
            return []

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _ask(self, what: str, call: Callable[[], _T], *missing: int) -> _T:
        """Call the client; ``missing`` are the 404 codes that mean: there is none."""
        wrong_url = "Check that the URL is that of a Confluent-compatible registry's API"
        try:
            return call()
        except SchemaRegistryError as error:
            raise self._translated(what, error, missing) from error
        except httpx.TransportError as error:
            kind = type(error).__name__
            raise DependencyUnavailable(_NAME, f"{self.url} does not answer ({kind})") from error
        except (ValueError, TypeError, KeyError, AttributeError, httpx.HTTPError) as error:
            # the client takes the shape of every answer for granted, and trips over another
            raise OperatorNeeded(
                f"{self.url} does not answer as a schema registry does", wrong_url
            ) from error

    def _translated(
        self, what: str, error: SchemaRegistryError, missing: tuple[int, ...]
    ) -> Exception:
        status, code = error.http_status_code, error.error_code
        if status >= 500 or status in _UNAVAILABLE:
            return DependencyUnavailable(_NAME, f"{self.url} answered {status}")
        if status == 404 and code in missing:
            return _Missing()
        if status == 409:
            return ContractMismatch(
                f"{what}: the schema does not fit the versions registered: {_said(error)}",
                "Change the schema (a new field needs a default), or use a new subject",
            )
        if status == 422:
            return ContractMismatch(
                f"{what}: the registry refuses the schema: {_said(error)}",
                "Correct the schema",
            )
        if status in {401, 403}:
            return OperatorNeeded(
                f"{self.url} answered {status} for {what}",
                "Give the registry's user and password, or the rights to read and register",
            )
        return OperatorNeeded(
            f"{self.url} answered {status} (code {code}) for {what}",
            "Check that the URL is that of a Confluent-compatible registry's API",
        )


def _shaped(schema: Any) -> Any:
    """The client's Schema, if there is one in it."""
    if not isinstance(schema.schema_str, str):
        raise TypeError("the answer has no schema")
    return schema


def _said(error: SchemaRegistryError) -> str:
    return str(error.error_message).strip().rstrip(".")


def _compact(subject: str, schema: str) -> str:
    try:
        return json.dumps(json.loads(schema), separators=(",", ":"))
    except ValueError as error:
        raise ContractMismatch(
            f"subject {subject}: the schema is not JSON: {error}", "Correct the schema"
        ) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("the URL is not http://HOST:PORT or https://HOST:PORT")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
