"""ClickHouse's values as a browser reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from millstream.console.plain import TEXT_CHARS_MAX, plain, plain_object, without_secrets


def test_everything_that_clickhouse_gives_is_json() -> None:
    """Without NaN, which a browser does not read."""
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    given = {
        "a": [1, 2.5, float("nan"), float("inf"), True, None],
        "d": Decimal("1.20"),
        "t": at,
        "u": UUID(int=1),
        "m": {1: b"\x00\xff"},
        "s": {"one"},
    }
    found = json.loads(json.dumps(plain_object(given), allow_nan=False))
    assert found["a"] == [1, 2.5, None, None, True, None]
    assert (found["d"], found["t"], found["m"]) == ("1.20", at.isoformat(), {"1": "00ff"})
    assert found["u"].endswith("0001")
    assert found["s"] == ["one"]


def test_numbers_that_javascript_would_round_go_as_text() -> None:
    """2^53 is the first that has a twin."""
    assert plain(2**53 - 1) == 2**53 - 1
    assert plain(2**53) == "9007199254740992"
    assert plain(-(2**63)) == "-9223372036854775808"


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    """A megabyte in a cell helps nobody."""
    found = plain("x" * 1_000_000)
    assert len(found) < TEXT_CHARS_MAX + 40
    assert found.endswith("... (1,000,000 characters)")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@db:5000/x: refused", "http://db:5000: refused"),
        ("HTTPS://me:hunter2@[::1]:5000", "HTTPS://[::1]:5000"),
        ("at 'http://db/?user=me&password=hunter2'.", "at 'http://db."),
        ("http://me:hun@ter2/hunter2@db:1,", "http://db:1,"),
        ("postgresql+psycopg2://me:hunter2@db/mlflow is away", "postgresql+psycopg2://db is away"),
        ("s3://hunter2@bucket/a/1?token=hunter2#hunter2", "s3://bucket/a/1"),
        ("sqlite:////var/mlflow.db", "sqlite:////var/mlflow.db"),
        ("nobody at me:hunter2@kafka:9092", "nobody at kafka:9092"),
        ("http://:hunter2@db", "http://db"),
        ("http://hunter2@", "http://"),
    ],
)
def test_of_an_address_in_an_error_host_and_port_are_shown(text: str, shown: str) -> None:
    """Its user, password, path and parameters may be secret."""
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Write http://HOST:PORT, https://HOST:PORT or chdb:FOLDER",
        "no Kafka broker answers at 127.0.0.1:9: connection refused",
        "Import it: `millstream models add STREAM.TOML models:/loans@champion`",
        "at 12:30:01 loans@2 was asked for; mail a@b.example",
    ],
)
def test_what_has_no_secret_stays_as_it_is(text: str) -> None:
    """Remedies, references, times."""
    assert without_secrets(text) == text
