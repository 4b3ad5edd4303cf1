"""One contract for every registry: the embedded one and Apicurio take the same exam."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from pydantic import SecretStr

from consumers.registry import RegisteredSchema, Registry, subject_of
from millstream.errors import (
    ContractMismatch,
    DependencyUnavailable,
    OperatorNeeded,
    RecordRefused,
    SettingsInvalid,
    Stage,
)
from millstream.settings import RegistrySettings


def event(*extra: dict[str, Any], kind: str = "int") -> str:
    """An event schema as a person would write it, with white space."""
    fields = [{"name": "x", "type": kind}, *extra]
    return json.dumps({"type": "record", "name": "Event", "fields": fields}, indent=2)


Y = {"name": "y", "type": "int"}
Y_DEFAULT = {"name": "y", "type": "int", "default": 7}


@pytest.fixture
def subject(topic_name: str) -> str:
    """A subject that no other test has."""
    return subject_of(topic_name)


def raw(registry: Registry) -> Any:
    """confluent-kafka's own client of the same registry."""
    return SchemaRegistryClient({"url": registry.url, "timeout": 10})


# --- the contract ---------------------------------------------------------------------------------


def test_a_registered_schema_is_found_by_its_id_and_as_the_latest(
    registry: Registry, subject: str
) -> None:
    """What was registered comes back, through a client that has never seen it too."""
    assert registry.latest(subject) is None
    schema_id = registry.register(subject, event())
    other = Registry(RegistrySettings(url=registry.url))
    assert json.loads(other.schema(schema_id)) == json.loads(event())
    latest = other.latest(subject)
    assert isinstance(latest, RegisteredSchema)
    assert (latest.schema_id, latest.version) == (schema_id, 1)
    assert json.loads(latest.schema) == json.loads(event())


def test_the_same_schema_has_one_id_in_every_subject_and_any_spelling(
    registry: Registry, subject: str
) -> None:
    """Registering is idempotent; white space does not count."""
    first = registry.register(subject, event())
    other = Registry(RegistrySettings(url=registry.url))
    spread = json.dumps(json.loads(event()), indent=7)
    assert other.register(subject, spread) == first
    assert other.register(f"other-{subject}", event()) == first
    assert raw(registry).get_versions(subject) == [1]


def test_another_schema_has_another_id_and_the_first_keeps_its_own(
    registry: Registry, subject: str
) -> None:
    """latest() sees the new version at once; the old id still has the old schema."""
    first = registry.register(subject, event())
    assert registry.latest(subject) is not None
    second = registry.register(subject, event(Y_DEFAULT))
    assert second != first
    latest = registry.latest(subject)
    assert latest is not None
    assert (latest.schema_id, latest.version) == (second, 2)
    fresh = Registry(RegistrySettings(url=registry.url))
    assert json.loads(fresh.schema(first)) == json.loads(event())
    assert json.loads(fresh.schema(second)) == json.loads(event(Y_DEFAULT))


def test_an_incompatible_schema_is_refused_with_the_field_and_changes_nothing(
    registry: Registry, subject: str
) -> None:
    """compatible() foretells what register() does, and both name the field."""
    registry.register(subject, event())
    reasons = registry.compatible(subject, event(Y))
    assert any("y" in reason for reason in reasons)
    with pytest.raises(ContractMismatch, match=r"does not fit the versions registered: .*\by\b"):
        registry.register(subject, event(Y))
    assert raw(registry).get_versions(subject) == [1]


def test_compatible_is_silent_about_what_could_be_registered(
    registry: Registry, subject: str
) -> None:
    """A first schema, the same again, and a new field with a default."""
    assert registry.compatible(subject, event()) == []
    registry.register(subject, event())
    assert registry.compatible(subject, event()) == []
    assert registry.compatible(subject, event(Y_DEFAULT)) == []
    assert raw(registry).get_versions(subject) == [1]


@pytest.mark.parametrize(
    ("level", "allowed", "refused"),
    [
        ("FORWARD", event(Y), event(Y, kind="string")),
        ("FULL", event(Y_DEFAULT), event(Y)),
        ("BACKWARD", event(kind="long"), event(kind="string")),
    ],
)
def test_a_subjects_level_decides(
    registry: Registry, subject: str, level: str, allowed: str, refused: str
) -> None:
    """Set through confluent-kafka's own client."""
    registry.register(subject, event())
    client = raw(registry)
    client.set_compatibility(subject, level)
    assert client.get_compatibility(subject) == level
    assert registry.compatible(subject, allowed) == []
    assert registry.compatible(subject, refused) != []
    with pytest.raises(ContractMismatch):
        registry.register(subject, refused)
    registry.register(subject, allowed)


def test_the_global_level_is_backward(registry: Registry) -> None:
    """Confluent's default."""
    assert raw(registry).get_compatibility() == "BACKWARD"


@pytest.mark.parametrize("schema_id", [0, 1_999_999_999, 2**31, 2**32 - 1])
def test_an_id_that_nobody_registered_refuses_the_record(
    registry: Registry, schema_id: int
) -> None:
    """Any four bytes may stand in a frame; those that no registry can give are not asked for."""
    with pytest.raises(RecordRefused) as refused:
        registry.schema(schema_id)
    assert (refused.value.stage, refused.value.name) == (Stage.FRAME, "unknown_schema_id")
    assert str(schema_id) in refused.value.reason


@pytest.mark.parametrize("text", ['{"type":"nope"}', '{"type":"record","name":"E"}', "{", "7"])
def test_what_is_not_a_schema_is_a_contract_mismatch(
    registry: Registry, subject: str, text: str
) -> None:
    """Naming the subject."""
    with pytest.raises(ContractMismatch, match=subject.replace(".", r"\.")):
        registry.register(subject, text)
    assert registry.latest(subject) is None


def test_a_wrong_path_in_the_url_stops_the_program_and_refuses_no_record(
    registry: Registry, subject: str
) -> None:
    """A 404 that is not the registry's own word about an id must never make dead letters."""
    lost = Registry(RegistrySettings(url=f"{registry.url}/wrong"))
    for call in (
        lambda: lost.schema(1),
        lambda: lost.latest(subject),
        lambda: lost.register(subject, event()),
        lambda: lost.compatible(subject, event()),
    ):
        with pytest.raises(OperatorNeeded, match="Check that the URL"):
            call()


def test_confluents_own_client_gets_the_answers_it_expects(
    registry: Registry, subject: str
) -> None:
    """Lookups, versions, and the codes of what is not there."""
    client = raw(registry)
    schema = Schema(event(), "AVRO")
    schema_id = client.register_schema(subject, schema)
    found = client.lookup_schema(subject, schema)
    assert (found.schema_id, found.version, found.subject) == (schema_id, 1, subject)
    assert subject in client.get_subjects()
    version = client.get_version(subject, 1)
    assert json.loads(version.schema.schema_str) == json.loads(event())
    assert client.get_latest_version(subject).schema_id == schema_id
    assert client.test_compatibility(subject, Schema(event(Y), "AVRO")) is False
    assert client.test_compatibility(subject, Schema(event(Y_DEFAULT), "AVRO"), 1) is True
    used = [(each.subject, each.version) for each in client.get_schema_versions(schema_id)]
    assert (subject, 1) in used
    calls: dict[Callable[[], Any], int] = {
        lambda: client.get_version(subject, 9): 40402,
        lambda: client.get_versions(f"no-{subject}"): 40401,
        lambda: client.get_schema(1_999_999_999): 40403,
        lambda: client.lookup_schema(subject, Schema('"int"', "AVRO")): 40403,
    }
    for call, code in calls.items():
        with pytest.raises(SchemaRegistryError) as error:
            call()
        assert (error.value.http_status_code, error.value.error_code) == (404, code)


# --- a registry that does not answer, or not as one ----------------------------------------------


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives one answer to everything; yields its URL."""

    class Always(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Always) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def impatient(url: str) -> Registry:
    """A client that gives up at once."""
    return Registry(RegistrySettings(url=url), timeout_s=0.2, retries_max=0)


def every_call_raises(client: Registry, kind: type[Exception], match: str) -> None:
    """All four calls."""
    for call in (
        lambda: client.schema(1),
        lambda: client.latest("s-value"),
        lambda: client.register("s-value", event()),
        lambda: client.compatible("s-value", event()),
    ):
        with pytest.raises(kind, match=match):
            call()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_registry_in_trouble_keeps_the_record(status: int) -> None:
    """Too busy or broken is the world's fault, never the record's."""
    with answering(status, b'{"error_code":50002,"message":"later"}') as url:
        every_call_raises(impatient(url), DependencyUnavailable, f"answered {status}")


def test_a_registry_that_is_not_there_keeps_the_record() -> None:
    """Nobody listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    client = impatient(f"http://127.0.0.1:{port}")
    every_call_raises(client, DependencyUnavailable, "does not answer")


def test_a_registry_that_is_silent_keeps_the_record() -> None:
    """It takes the connection and says nothing: the call ends all the same."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        client = impatient(f"http://127.0.0.1:{silent.getsockname()[1]}")
        every_call_raises(client, DependencyUnavailable, "does not answer")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"7", b"", b"{}", b"null"])
def test_a_page_that_is_no_registry_needs_the_operator(body: bytes) -> None:
    """200 with something else in it."""
    with answering(200, body) as url:
        every_call_raises(impatient(url), OperatorNeeded, "Check that the URL")


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_password_needs_the_operator_and_is_not_shown(status: int) -> None:
    """The remedy names the user and the password; the password is in no text."""
    with answering(status, b'{"error_code":40101,"message":"no"}') as url:
        settings = RegistrySettings(url=url, username="ada", password=SecretStr("s3cret"))
        client = Registry(settings, retries_max=0)
        with pytest.raises(OperatorNeeded, match="Give the registry's user and password") as error:
            client.schema(1)
        assert "s3cret" not in str(error.value)


def test_a_schema_that_is_not_avro_refuses_the_record() -> None:
    """The id is known, but nothing here can decode its records."""
    with answering(200, b'{"schema":"{}","schemaType":"JSON"}') as url:
        with pytest.raises(RecordRefused) as refused:
            impatient(url).schema(1)
        assert refused.value.name == "schema_not_avro"


def test_a_known_id_needs_no_registry() -> None:
    """An id that was fetched once is answered after the registry is gone."""
    with answering(200, b'{"schema":"\\"int\\""}') as url:
        client = impatient(url)
        assert client.schema(1) == '"int"'
    assert client.schema(1) == '"int"'
    with pytest.raises(DependencyUnavailable):
        client.schema(2)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8081", "mock://here", "http://", "ftp://host", "http://h:77777"]
)
def test_a_url_that_is_none_is_refused_at_once(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(SettingsInvalid, match="MILLSTREAM_REGISTRY_"):
        Registry(RegistrySettings(url=url))


def test_a_password_in_the_url_is_not_in_the_clients_url() -> None:
    """Errors and logs quote the URL."""
    client = Registry(RegistrySettings(url="http://ada:s3cret@127.0.0.1:1/api/"))
    assert client.url == "http://127.0.0.1:1/api"
