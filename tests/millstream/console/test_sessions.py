"""Passwords, their hashes, and sessions."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from millstream.console.sessions import (
    KEY_BYTES,
    Password,
    Sessions,
    hash_password,
    require_login,
)
from millstream.errors import SettingsInvalid
from millstream.settings import ConsoleSettings, from_environment

SALT = bytes(range(16))
KEY = bytes(KEY_BYTES)


@pytest.mark.parametrize("hashed", [False, True])
def test_only_the_password_is_right(hashed: bool) -> None:
    """In plain and as a hash; nothing that is like it."""
    secret = "pässword $1"
    made = hash_password(secret, SALT) if hashed else secret
    password = Password(None, SecretStr(made)) if hashed else Password(SecretStr(made), None)
    assert password.is_right(secret)
    assert not any(map(password.is_right, ["", "pässword $", "pässword $1 ", made + "x", "\ud800"]))


def test_a_hash_has_its_own_salt() -> None:
    """So that equal passwords do not look equal, and the password is not in it."""
    one, other = hash_password("secret", SALT), hash_password("secret", SALT[::-1])
    assert one != other
    assert "secret" not in one


@pytest.mark.parametrize(
    "text",
    [
        "secret",
        "scrypt$16384$8$5$AAAA",
        "scrypt$16384$8$5$!!$!!",
        "scrypt$16383$8$5$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "scrypt$1073741824$8$5$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "scrypt$16384$8$5$AAAAAAAAAAAAAAAA$",
    ],
)
def test_what_is_no_hash_is_refused_at_the_start(text: str) -> None:
    """Also one so dear that checking it would take the memory of the machine."""
    with pytest.raises(SettingsInvalid, match="--hash-password"):
        Password(None, SecretStr(text))


def test_a_session_holds_until_its_time_is_over() -> None:
    """By the clock that is given."""
    sessions = Sessions(KEY, 60)
    cookie = sessions.issue(1_000.0, "n")
    assert sessions.holds(cookie, 1_059.9)
    assert not sessions.holds(cookie, 1_060.0)


@pytest.mark.parametrize(
    "forged", ["", "9999999999.n", "9999999999.n.", "9999999999.n.00", "é.é.é"]
)
def test_a_session_that_we_did_not_sign_is_none(forged: str) -> None:
    """And one of another process, whose key is another."""
    assert not Sessions(KEY, 60).holds(forged, 1.0)
    foreign = Sessions(KEY[:-1] + b"x", 60).issue(1_000.0, "n")
    assert not Sessions(KEY, 60).holds(foreign, 1_000.0)


def test_a_session_cannot_be_made_longer() -> None:
    """The time is under the signature."""
    cookie = Sessions(KEY, 60).issue(1_000.0, "n")
    assert not Sessions(KEY, 60).holds(cookie.replace("1060.", "9060."), 1_000.0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "console.example.org"])
def test_nobody_listens_to_others_without_a_password(host: str) -> None:
    """The remedy names the setting; on loopback, or with one, all is well."""
    with pytest.raises(SettingsInvalid, match="MILLSTREAM_CONSOLE_PASSWORD"):
        require_login(host, None)
    require_login(host, Password(SecretStr("x"), None))
    require_login("127.0.0.1", None)


def test_two_passwords_are_refused() -> None:
    """And an empty one."""
    for environ in (
        {"MILLSTREAM_CONSOLE_PASSWORD": "a", "MILLSTREAM_CONSOLE_PASSWORD_HASH": "b"},
        {"MILLSTREAM_CONSOLE_PASSWORD": ""},
    ):
        with pytest.raises(SettingsInvalid, match="password"):
            from_environment(ConsoleSettings, environ)
