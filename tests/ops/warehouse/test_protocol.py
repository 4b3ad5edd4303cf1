"""ops/warehouse/protocol.py"""

from __future__ import annotations

import base64

import pytest

from ops.warehouse.errors import Code, QueryFailed
from ops.warehouse.protocol import authenticate, parse_ask, refuse_foreign


def test_parameters_become_settings_bindings_and_places() -> None:
    """Every kind of URL parameter goes where it belongs."""
    url = "query=SELECT+1&database=d&param_x=a%5Ctb&max_threads=1&session_id=s&user=u&log_comment=c"
    ask = parse_ask("POST", url, {"accept-encoding": "lz4"}, "new")
    assert (ask.query, ask.database, ask.query_id, ask.session_id) == (b"SELECT 1", "d", "new", "s")
    assert ask.settings == {"max_threads": "1"}
    assert ask.parameters == {"x": "a\\tb"}
    assert not ask.readonly
    assert ask.encoding == ""


def test_headers_win_over_parameters() -> None:
    """X-ClickHouse-Database and -Format are looked at first, as the server does."""
    headers = {"x-clickhouse-database": "h", "x-clickhouse-format": "JSON"}
    ask = parse_ask("GET", "database=u&default_format=CSV", headers, "new")
    assert (ask.database, ask.default_format, ask.readonly) == ("h", "JSON", True)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("compress=1", Code.NOT_IMPLEMENTED),
        ("decompress=1", Code.NOT_IMPLEMENTED),
        ("role=r", Code.NOT_IMPLEMENTED),
        ("session_id=s&session_check=1", Code.SESSION_NOT_FOUND),
        ("max_threads%20%3D1%2Ca=1", Code.BAD_ARGUMENTS),
        ("param_a-b=1", Code.BAD_ARGUMENTS),
        ("default_format=CSV%3BDROP", Code.BAD_ARGUMENTS),
        ("wait_end_of_query=maybe", Code.BAD_ARGUMENTS),
    ],
)
def test_what_cannot_be_done_is_refused(url: str, code: Code) -> None:
    """Nothing that the client asked for is dropped in silence, no name reaches SQL unchecked."""
    with pytest.raises(QueryFailed) as refused:
        parse_ask("POST", url, {}, "new")
    assert refused.value.code == code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8:1", "localhost:8123", "[::1]:8123"])
def test_loopback_hosts_may_ask(host: str) -> None:
    """Any name of this machine passes."""
    refuse_foreign({"host": host}, loopback_only=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8123"},
        {"host": ""},
        {},
        {"host": "127.0.0.1:8123", "origin": "http://evil.example"},
        {"host": "127.0.0.1:8123", "origin": "null"},
        {"host": "127.0.0.1:8123", "origin": "http://127.0.0.1:9"},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "cross-site"},
    ],
)
def test_web_pages_and_rebound_names_may_not_ask(headers: dict[str, str]) -> None:
    """A page in a browser on this machine cannot use the server, by whatever name."""
    with pytest.raises(QueryFailed) as refused:
        refuse_foreign(headers, loopback_only=True)
    assert refused.value.status == 403


def _basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({"x-clickhouse-user": "default", "x-clickhouse-key": "sécret"}, ""),
        ({"x-clickhouse-key": "sécret"}, ""),
        (_basic("default:sécret"), ""),
        ({}, "user=default&password=s%C3%A9cret"),
    ],
)
def test_the_right_password_is_taken_in_every_way(headers: dict[str, str], url: str) -> None:
    """Headers, basic authentication and the URL all work."""
    authenticate(headers, url, "sécret")


@pytest.mark.parametrize(
    ("headers", "url", "status"),
    [
        ({}, "", 401),
        ({"x-clickhouse-key": "wrong"}, "", 403),
        ({"x-clickhouse-user": "other", "x-clickhouse-key": "secret"}, "", 403),
        (_basic("default:secret2"), "", 403),
        ({"authorization": "Bearer secret"}, "", 403),
        ({"authorization": "Basic ???"}, "", 403),
        ({}, "user=default", 403),
    ],
)
def test_a_wrong_or_missing_password_is_refused(
    headers: dict[str, str], url: str, status: int
) -> None:
    """Nothing is 401, wrong is 403, as with ClickHouse."""
    with pytest.raises(QueryFailed) as refused:
        authenticate(headers, url, "secret")
    assert refused.value.status == status


def test_without_a_password_only_the_user_counts() -> None:
    """ClickHouse's default user without a password takes any; other users do not exist."""
    authenticate({}, "", None)
    authenticate({"x-clickhouse-user": "default", "x-clickhouse-key": "any"}, "", None)
    with pytest.raises(QueryFailed):
        authenticate({"x-clickhouse-user": "other"}, "", None)
