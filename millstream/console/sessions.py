"""Who may look: passwords compared in constant time, and sessions that their cookie proves.

A session is EXPIRES.NONCE.SIGNATURE, signed by HMAC-SHA-256 with a key that lives as long as the
console's process: a restart ends every session, and nothing is stored. Hashes are scrypt's
(RFC 7914) with N=2^14, r=8, p=5, as OWASP's list of parameters has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from pydantic import SecretStr

from millstream.errors import SettingsInvalid
from millstream.hosts import is_loopback
from millstream.settings import ConsoleSettings

SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
_COST: Final = (1 << 14, 8, 5)
_COST_MAX: Final = (1 << 20, 32, 16)
_MEMORY_MAX: Final = 1 << 30


def hash_password(password: str, salt: bytes) -> str:
    """`scrypt$N$r$p$SALT$HASH` for the settings. salt: SALT_BYTES at random."""
    n, r, p = _COST
    made = hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, dklen=KEY_BYTES, maxmem=_MEMORY_MAX
    )
    return f"scrypt${n}${r}${p}${_text(salt)}${_text(made)}"


class Password:
    """The one password of a console. Raises SettingsInvalid for a hash that is none."""

    def __init__(self, plain: SecretStr | None, hashed: SecretStr | None) -> None:
        self._plain = None if plain is None else plain.get_secret_value()
        self._hash = None if hashed is None else _parsed(hashed.get_secret_value())

    @classmethod
    def of(cls, settings: ConsoleSettings) -> Password | None:
        """None where the settings have none."""
        if settings.password is None and settings.password_hash is None:
            return None
        return cls(settings.password, settings.password_hash)

    def is_right(self, given: str) -> bool:
        """In a time that does not tell how much of it was right."""
        if self._hash is None:
            assert self._plain is not None, "one of the two is there"
            wanted, found = _digest(self._plain), _digest(given)
            return hmac.compare_digest(wanted, found)
        (n, r, p), salt, wanted = self._hash
        found = hashlib.scrypt(
            given.encode("utf-8", "surrogatepass"),
            salt=salt, n=n, r=r, p=p, dklen=len(wanted), maxmem=_MEMORY_MAX,
        )  # fmt: skip
        return hmac.compare_digest(wanted, found)


class Sessions:
    """Signs sessions and knows its own. key: KEY_BYTES at random. Times are seconds since 1970."""

    def __init__(self, key: bytes, lasts_s: int) -> None:
        self._key = key
        self.lasts_s = lasts_s

    def issue(self, now_s: float, nonce: str) -> str:
        """A new session's cookie."""
        said = f"{int(now_s) + self.lasts_s}.{nonce}"
        return f"{said}.{self._sign(said)}"

    def holds(self, cookie: str, now_s: float) -> bool:
        """Whether the cookie is ours and its time is not over."""
        said, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(said).encode(), signature.encode("utf-8", "replace")):
            return False
        return int(said.partition(".")[0]) > now_s

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def require_login(host: str, password: Password | None) -> None:
    """Raise SettingsInvalid where others could reach a console that asks for no password."""
    if password is None and not is_loopback(host):
        raise SettingsInvalid(
            f"the console would listen on {host} without a login",
            "Set MILLSTREAM_CONSOLE_PASSWORD (or _PASSWORD_HASH), or listen on 127.0.0.1",
        )


def _parsed(text: str) -> tuple[tuple[int, int, int], bytes, bytes]:
    bad = SettingsInvalid(
        "MILLSTREAM_CONSOLE_PASSWORD_HASH is no hash of a password",
        "Make one with `millstream console --hash-password`",
    )
    parts = text.split("$")
    if len(parts) != 6 or parts[0] != "scrypt":
        raise bad
    try:
        n, r, p = (int(part) for part in parts[1:4])
        salt, wanted = (base64.b64decode(part, validate=True) for part in parts[4:])
    except (ValueError, binascii.Error):
        raise bad from None
    sound = n > 1 and n & (n - 1) == 0 and r > 0 and p > 0 and len(salt) >= 8 and len(wanted) >= 16
    if not sound or n > _COST_MAX[0] or r > _COST_MAX[1] or p > _COST_MAX[2]:
        raise bad
    return (n, r, p), salt, wanted


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
