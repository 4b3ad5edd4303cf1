"""The console over HTTP, without a browser: who may see what, and with which headers."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from pydantic import SecretStr

from consumers.console import app as console_app
from consumers.console.app import PATHS, Console, Given
from millstream.settings import ConsoleSettings, KafkaSettings, WarehouseSettings
from millstream.sql.cookbook import cookbook
from millstream.stream import Stream
from tests.consumers.console.planted import Planted

LOCAL = "http://127.0.0.1:8350"
PASSWORD = "open sesame"


@pytest.fixture
def given(planted: Planted, served: WarehouseSettings) -> Given:
    """No broker answers: what is tested here needs none."""
    kafka = KafkaSettings(bootstrap="127.0.0.1:9")
    return Given(planted.stream, kafka, served, ConsoleSettings())


@pytest.fixture
def locked(given: Given) -> Given:
    """With a password."""
    settings = ConsoleSettings(password=SecretStr(PASSWORD), https=True)
    return Given(given.stream, given.kafka, given.warehouse, settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(console_app, "WRONG_S", 0.0)
    yield


@asynccontextmanager
async def _client(given: Given, base: str = LOCAL) -> AsyncIterator[httpx.AsyncClient]:
    console = Console(given)
    transport = httpx.ASGITransport(console.app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            yield client
    finally:
        console.close()


def _get(given: Given, path: str, base: str = LOCAL, **headers: str) -> httpx.Response:
    async def run() -> httpx.Response:
        async with _client(given, base) as client:
            return await client.get(path, headers=headers)

    return asyncio.run(run())


def test_every_answer_forbids_what_a_page_must_not_do(given: Given) -> None:
    """Pages, files, data and errors: scripts from the console alone, none written into the page."""
    for path in ("/", "/static/js/app.js", "/api/about", "/nowhere"):
        headers = _get(given, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert _get(given, "/api/about").headers["cache-control"] == "no-store"


def test_no_page_has_a_script_or_a_style_written_into_it() -> None:
    """The policy would stop it; so that it need not."""
    for page in console_app.STATIC.glob("*.html"):
        text = page.read_text("utf-8")
        assert " style=" not in text
        assert "<style" not in text
        assert all("src=" in part.partition(">")[0] for part in text.split("<script")[1:])
        assert " on" not in "".join(part.partition(">")[0] for part in text.split("<")[1:])


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No page, style or script of ours names another address."""
    for file in console_app.STATIC.rglob("*"):
        if file.suffix in {".html", ".css", ".js", ".svg"} and "vendor" not in file.parts:
            text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            assert "http:" not in text
            assert "https:" not in text
            assert "innerHTML" not in text


def test_every_page_is_there(given: Given) -> None:
    """Also when it is opened by its address."""
    for path in PATHS:
        answer = _get(given, path)
        assert answer.status_code == 200
        assert '<main id="main"' in answer.text


def test_a_name_that_is_not_this_machine_is_refused_on_loopback(given: Given) -> None:
    """DNS rebinding: a foreign page's own name, resolved to 127.0.0.1."""
    assert _get(given, "/api/about", "http://evil.example:8350").status_code == 403
    assert _get(given, "/api/about", "http://localhost:8350").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}],
)
def test_pages_of_other_sites_may_not_ask(given: Given, headers: dict[str, str]) -> None:
    """Neither read nor make the console work."""
    assert _get(given, "/api/sql?q=SELECT+1", **headers).status_code == 403


def test_everything_is_a_get(given: Given) -> None:
    """Nothing else is answered."""

    async def run() -> list[int]:
        async with _client(given) as client:
            calls = [client.request(m, "/api/sql?q=SELECT+1") for m in ("POST", "PUT", "DELETE")]
            return [(await call).status_code for call in calls]

    assert asyncio.run(run()) == [405, 405, 405]


def test_without_a_session_there_is_the_login_page_and_nothing_else(locked: Given) -> None:
    """Pages lead there; data is refused; the login page's own files are open."""
    answer = _get(locked, "/drift")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/drift")
    for path in ("/api/about", "/api/live", "/api/sql?q=SELECT+1", "/api/lookup?q=1"):
        assert _get(locked, path).status_code == 401
    assert _get(locked, "/login").status_code == 200
    assert _get(locked, "/static/style.css").status_code == 200


async def _log_in(client: httpx.AsyncClient, password: str, target: str = "/") -> httpx.Response:
    return await client.post("/login", data={"password": password, "next": target})


def test_the_password_opens_a_session_that_ends_with_the_logout(locked: Given) -> None:
    """Its cookie is for scripts unreadable, for other sites unused, and never sent in plain."""

    async def run() -> None:
        async with _client(locked, "https://console.example") as client:
            answer = await _log_in(client, PASSWORD, "/models")
            assert (answer.status_code, answer.headers["location"]) == (303, "/models")
            cookie = answer.headers["set-cookie"].lower()
            assert all(part in cookie for part in ("httponly", "samesite=strict", "secure"))
            assert (await client.get("/api/about")).json()["login"] is True
            out = await client.post("/logout")
            assert out.headers["location"] == "/login"
            assert (await client.get("/api/about")).status_code == 401

    asyncio.run(run())


def test_a_wrong_password_opens_nothing(locked: Given) -> None:
    """Nor does an empty, a long or a missing one."""

    async def run() -> None:
        async with _client(locked, "https://console.example") as client:
            for wrong in ("", PASSWORD.upper(), PASSWORD + " ", "x" * 100_000):
                answer = await _log_in(client, wrong)
                assert answer.headers["location"] == "/login?wrong=1"
                assert "set-cookie" not in answer.headers
            bare = await client.post("/login", content=b"\xff")
            assert bare.headers["location"] == "/login?wrong=1"
            assert (await client.get("/api/about")).status_code == 401

    asyncio.run(run())


def test_a_login_leads_to_no_other_site(locked: Given) -> None:
    """Whatever the address asks for."""

    async def run() -> None:
        async with _client(locked, "https://console.example") as client:
            for target in ("https://evil.example/", "//evil.example", "/\\evil.example", "x"):
                answer = await _log_in(client, PASSWORD, target)
                assert answer.headers["location"] == "/"

    asyncio.run(run())


def test_another_site_cannot_log_a_browser_in(locked: Given) -> None:
    """Login CSRF: its owner would watch what is typed."""

    async def run() -> int:
        async with _client(locked, "https://console.example") as client:
            answer = await client.post(
                "/login", data={"password": PASSWORD}, headers={"origin": "https://evil.example"}
            )
            return answer.status_code

    assert asyncio.run(run()) == 403


def test_a_session_ends_by_its_own_time(locked: Given) -> None:
    """By the console's clock."""
    now = [time.time()]
    given = Given(
        locked.stream, locked.kafka, locked.warehouse, locked.settings, clock=lambda: now[0]
    )

    async def run() -> list[int]:
        async with _client(given, "https://console.example") as client:
            await _log_in(client, PASSWORD)
            codes = [(await client.get("/api/about")).status_code]
            now[0] += locked.settings.session_s + 1
            return [*codes, (await client.get("/api/about")).status_code]

    assert asyncio.run(run()) == [200, 401]


@pytest.mark.parametrize(
    "path",
    ["/api/performance", "/api/drift", "/api/incidents", "/api/models", "/api/letters",
     "/api/tables", "/api/lookup?q=L-7", "/api/card?name=loans&version=1"],
)  # fmt: skip
def test_every_page_has_its_data(given: Given, path: str) -> None:
    """As JSON, with its time and without an error."""
    said: dict[str, Any] = _get(given, path).json()
    assert said["error"] is None
    assert said["data"]
    assert abs(said["at"] / 1_000 - time.time()) < 60


@pytest.mark.parametrize("path", ["/api/letters", "/api/models", "/api/tables", "/api/sql?q=x"])
@pytest.mark.parametrize(
    "url", ["http://me:hunter2@127.0.0.1:9", "http://127.0.0.1:9/?password=hunter2"]
)
def test_an_address_with_a_password_is_shown_to_nobody(
    given: Given, path: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither on the pages nor in the log."""
    away = Given(given.stream, given.kafka, WarehouseSettings(url=url), given.settings)
    said = _get(away, path).text
    assert "MILLSTREAM_WAREHOUSE_URL" in said
    assert "hunter2" not in said + caplog.text


def test_the_model_registrys_password_is_shown_to_nobody(given: Given, tmp_path: Path) -> None:
    """An address of MLflow's may hold one."""
    folder = tmp_path / "stream"
    shutil.copytree(given.stream.path.parent, folder)
    path = folder / given.stream.path.name
    registry = 'registry = "mlflow:http://me:hunter2@127.0.0.1:9"\nartifacts = "artifacts"\n'
    path.write_text(path.read_text("utf-8").replace("[model]\n", f"[model]\n{registry}"), "utf-8")
    mine = Given(Stream.load(path), given.kafka, given.warehouse, given.settings)
    said = _get(mine, "/api/models").json()["data"]["registry"]
    assert "127.0.0.1" in said["error"]["problem"]
    assert "hunter2" not in str(said)


def test_the_cookbook_is_offered_and_its_parameters_are_taken(given: Given) -> None:
    """Each with its default, where it has one; they come as ClickHouse's own interface has them."""
    found = {one["name"]: one for one in _get(given, "/api/cookbook").json()["recipes"]}
    assert set(found) == set(cookbook())
    recipe = found["accuracy_by_slice"]
    assert [p["default"] for p in recipe["parameters"]] == [None, "1970-01-01 00:00:00", "50"]
    asked = {"q": recipe["sql"], "param_field": "elevel", "param_rows": "3"}
    query = urlencode(asked | {"param_since": "1970-01-01 00:00:00"})
    assert len(_get(given, f"/api/sql?{query}").json()["rows"]) == 3


def test_a_clickhouse_that_is_away_is_said_in_place_of_data(given: Given) -> None:
    """Not as a failure of the console."""
    away = Given(
        given.stream, given.kafka, WarehouseSettings(url="http://127.0.0.1:9"), given.settings
    )
    answer = _get(away, "/api/letters")
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert "127.0.0.1:9" in answer.json()["error"]["problem"]
