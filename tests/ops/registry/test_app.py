"""The REST answers that are the embedded registry's own; the shared ones are in the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ops.registry.app import BODY_BYTES_MAX, Api, LoopbackOnly
from ops.registry.store import Store

ONE = '{"type":"record","name":"E","fields":[{"name":"x","type":"int"}]}'
TWO = '{"type":"record","name":"E","fields":[{"name":"x","type":"int"},{"name":"y","type":"int"}]}'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store) -> TestClient:
    """The application, called without a socket."""
    return TestClient(LoopbackOnly(Api(store).app()), base_url="http://127.0.0.1:8081")


def refusal(answer: Any) -> tuple[int, int]:
    """The status and the error code."""
    return answer.status_code, answer.json()["error_code"]


def post(client: TestClient, path: str, schema: str, **more: Any) -> Any:
    """Post a schema."""
    return client.post(path, json={"schema": schema, **more})


def test_reading_what_was_registered(client: TestClient) -> None:
    """Every way to read one schema gives it, under Confluent's media type."""
    assert post(client, "/subjects/s/versions", ONE).json() == {"id": 1}
    version = {"subject": "s", "version": 1, "id": 1, "schema": ONE}
    for path, answer in {
        "/schemas/ids/1": {"schema": ONE},
        "/schemas/ids/1/versions": [{"subject": "s", "version": 1}],
        "/schemas/ids/1/subjects": ["s"],
        "/schemas/ids/1/schema": json.loads(ONE),
        "/schemas/types": ["AVRO"],
        "/subjects": ["s"],
        "/subjects?subjectPrefix=t": [],
        "/subjects/s/versions": [1],
        "/subjects/s/versions?offset=1": [],
        "/subjects/s/versions/1": version,
        "/subjects/s/versions/latest": version,
        "/subjects/s/versions/-1": version,
        "/subjects/s/versions/1/schema": json.loads(ONE),
        "/config": {"compatibilityLevel": "BACKWARD"},
        "/config/s?defaultToGlobal=true": {"compatibilityLevel": "BACKWARD"},
        "/mode": {"mode": "READWRITE"},
        "/": {},
    }.items():
        found = client.get(path)
        assert (path, found.status_code, found.json()) == (path, 200, answer)
        kind = found.headers["content-type"].partition(";")[0]
        assert kind == "application/vnd.schemaregistry.v1+json"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/schemas/ids/2", 404, 40403),
        ("/schemas/ids/x", 404, 40403),
        ("/schemas/ids/99999999999999999999", 404, 40403),
        ("/schemas/ids/2/versions", 404, 40403),
        ("/subjects/none/versions", 404, 40401),
        ("/subjects/none/versions/latest", 404, 40401),
        ("/subjects/s/versions/2", 404, 40402),
        ("/subjects/s/versions/0", 422, 42202),
        ("/subjects/s/versions/x", 422, 42202),
        ("/subjects?limit=x", 400, 400),
        ("/config/s", 404, 40408),
        ("/nowhere", 404, 404),
    ],
)
def test_what_is_not_there_has_confluents_code(
    client: TestClient, path: str, status: int, code: int
) -> None:
    """404 and 422, with the codes that clients decide by."""
    post(client, "/subjects/s/versions", ONE)
    assert refusal(client.get(path)) == (status, code)


def test_a_subject_with_a_slash_is_a_subject(client: TestClient) -> None:
    """Names arrive percent-encoded."""
    assert post(client, "/subjects/a%2Fb-value/versions", ONE).status_code == 200
    assert client.get("/subjects").json() == ["a/b-value"]
    assert client.get("/subjects/a%2Fb-value/versions/1").json()["subject"] == "a/b-value"


def test_an_incompatible_schema_is_409_with_the_reason_and_is_not_stored(
    client: TestClient,
) -> None:
    """The version count stays; verbose tests say the same reason."""
    post(client, "/subjects/s/versions", ONE)
    answer = post(client, "/subjects/s/versions", TWO)
    assert refusal(answer) == (409, 409)
    reason = "field y has no default and the writer does not have it"
    assert reason in answer.json()["message"]
    assert client.get("/subjects/s/versions").json() == [1]
    for path in ("versions", "versions/1", "versions/latest"):
        tested = post(client, f"/compatibility/subjects/s/{path}?verbose=True", TWO).json()
        assert tested == {
            "is_compatible": False,
            "messages": [f"the new schema cannot read version 1: {reason}"],
        }
        assert post(client, f"/compatibility/subjects/s/{path}", TWO).json() == {
            "is_compatible": False
        }


def test_a_level_changes_what_may_follow_and_survives(client: TestClient, store: Store) -> None:
    """The subject's own level goes before the global one; deleting it brings that one back."""
    post(client, "/subjects/s/versions", ONE)
    assert client.put("/config/s", json={"compatibility": "forward"}).json() == {
        "compatibility": "FORWARD"
    }
    assert client.get("/config/s").json() == {"compatibilityLevel": "FORWARD"}
    assert post(client, "/subjects/s/versions", TWO).json() == {"id": 2}
    assert refusal(post(client, "/subjects/s/versions", '"int"')) == (409, 409)
    assert client.delete("/config/s").json() == {"compatibilityLevel": "FORWARD"}
    assert refusal(client.get("/config/s")) == (404, 40408)
    assert refusal(client.delete("/config/s")) == (404, 40408)
    client.put("/config", json={"compatibility": "NONE"})
    assert post(client, "/subjects/s/versions", '"int"').json() == {"id": 3}
    assert refusal(client.put("/config", json={"compatibility": "SOME"})) == (422, 42203)


def test_an_old_version_registered_again_keeps_its_id(client: TestClient) -> None:
    """Registering is idempotent for every version, not only the latest."""
    client.put("/config", json={"compatibility": "NONE"})
    assert [post(client, "/subjects/s/versions", t).json()["id"] for t in (ONE, TWO, ONE)] == [
        1,
        2,
        1,
    ]
    assert client.get("/subjects/s/versions").json() == [1, 2]


@pytest.mark.parametrize(
    "body",
    [
        {"schema": ONE, "schemaType": "JSON"},
        {"schema": ONE, "references": [{"name": "a", "subject": "b", "version": 1}]},
        {"schema": "{"},
        {"schema": 7},
        {},
        [],
    ],
)
def test_what_is_not_an_avro_schema_is_42201(client: TestClient, body: Any) -> None:
    """Other types and references are refused too, with a sentence that says so."""
    assert refusal(client.post("/subjects/s/versions", json=body)) == (422, 42201)


def test_what_the_registry_does_not_do_it_refuses(client: TestClient) -> None:
    """Deleting, importing ids, other modes."""
    post(client, "/subjects/s/versions", ONE)
    assert refusal(client.delete("/subjects/s")) == (405, 405)
    assert refusal(client.delete("/subjects/s/versions/1")) == (405, 405)
    assert "deletes nothing" in client.delete("/subjects/s").json()["message"]
    assert refusal(client.put("/mode", json={"mode": "IMPORT"})) == (405, 405)
    assert refusal(post(client, "/subjects/s/versions", TWO, id=7)) == (422, 42205)
    assert client.get("/subjects/s/versions").json() == [1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_host_header_is_refused(client: TestClient, host: str) -> None:
    """A web page whose name points here gets nothing."""
    assert refusal(client.get("/subjects", headers={"host": host})) == (403, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8081", "[::1]"])
def test_this_machines_names_are_welcome(client: TestClient, host: str) -> None:
    """With and without a port."""
    assert client.get("/subjects", headers={"host": host}).status_code == 200


def test_a_body_that_is_no_json_or_too_large_is_refused(client: TestClient) -> None:
    """A web page's plain-text form, rubbish, and more than the bound."""
    body = json.dumps({"schema": ONE})
    path, json_kind = "/subjects/s/versions", {"content-type": "application/json"}
    plain = client.post(path, content=body, headers={"content-type": "text/plain"})
    assert refusal(plain) == (415, 415)
    assert refusal(client.post(path, content=body)) == (415, 415)
    assert refusal(client.post(path, content="{", headers=json_kind)) == (400, 400)
    large = " " * (BODY_BYTES_MAX + 1)
    assert refusal(client.post(path, content=large, headers=json_kind)) == (413, 413)
    assert client.get("/subjects").json() == []
