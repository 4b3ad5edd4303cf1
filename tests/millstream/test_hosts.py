"""Which names are this machine's."""

from __future__ import annotations

import pytest

from millstream.hosts import host_of, is_loopback


def test_loopback_is_this_machine_and_no_name_that_looks_like_it() -> None:
    """DNS may say anything of a name."""
    assert all(map(is_loopback, ["127.0.0.1", "127.3.2.1", "::1", "[::1]", "LOCALHOST"]))
    others = ["", "10.0.0.1", "localhost.example.org", "0.0.0.0", "::", "me"]
    assert not any(map(is_loopback, others))


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("127.0.0.1:8350", "127.0.0.1"),
        ("localhost", "localhost"),
        ("[::1]:1", "::1"),
        ("evil.example:127", "evil.example"),
        ("127.0.0.1@evil.example", "evil.example"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_a_host_header_names_one_host(authority: str, host: str) -> None:
    """Without its port; none where it is malformed."""
    assert host_of(authority) == host
