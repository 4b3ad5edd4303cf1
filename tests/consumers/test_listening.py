"""How servers listen and end."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from contextlib import closing

import pytest
import uvicorn
from starlette.applications import Starlette

from consumers.listening import QuietServer, address, listen
from millstream.errors import SettingsInvalid


def test_a_port_that_cannot_be_had_is_the_operators() -> None:
    """One that is taken, also by who has only just bound it; and one that is none."""
    with closing(listen("the first", "127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        for wrong in (port, 70_000):
            with pytest.raises(SettingsInvalid, match=f"the second cannot listen .* {wrong}:"):
                listen("the second", "127.0.0.1", wrong)


def test_an_answer_does_not_wait_for_the_one_before() -> None:
    """asyncio switches Nagle's algorithm off for sockets that name their protocol."""
    with closing(listen("it", "127.0.0.1", 0)) as made:
        assert made.proto == socket.IPPROTO_TCP


def test_the_address_is_one_that_a_client_takes() -> None:
    """Brackets around IPv6, once."""
    with closing(listen("it", "127.0.0.1", 0)) as made:
        port = made.getsockname()[1]
        assert address("127.0.0.1", made) == f"http://127.0.0.1:{port}"
        assert address("::1", made) == address("[::1]", made) == f"http://[::1]:{port}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_told_to_stop_is_no_error(number: signal.Signals) -> None:
    """It tells when it answers, ends in order, and the signals are others' again."""
    before = signal.getsignal(number)
    told: list[str] = []
    with closing(listen("it", "127.0.0.1", 0)) as made:
        url = address("127.0.0.1", made)

        def ready() -> None:
            told.append("ready")
            os.kill(os.getpid(), number)

        config = uvicorn.Config(Starlette(), log_config=None, lifespan="off")
        QuietServer(config, ready, lambda: told.append("ending")).run(sockets=[made])
    assert told == ["ready", "ending"]
    assert signal.getsignal(number) is before
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=2)
