"""The proxy: bytes pass unchanged, and each fault is what it says."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ops.faults.proxy import Proxy

SHORT_S = 0.3


class Echo:
    """A server that answers with what it got; `got` is all of it."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.got = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(taken,), daemon=True).start()

    def _answer(self, taken: socket.socket) -> None:
        with taken, contextlib.suppress(OSError):
            while chunk := taken.recv(65_536):
                self.got += chunk
                taken.sendall(chunk)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Listens until the end of the test."""
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """In front of it."""
    with Proxy(echo.port) as made:
        yield made


def dial(proxy: Proxy) -> socket.socket:
    """A connection through the proxy."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def receive(line: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer where the connection ends."""
    got = bytearray()
    while len(got) < count and (chunk := line.recv(count - len(got))):
        got += chunk
    return bytes(got)


def is_silent(line: socket.socket) -> bool:
    """Whether nothing comes for a moment."""
    line.settimeout(SHORT_S)
    try:
        return not line.recv(1)
    except TimeoutError:
        return True
    finally:
        line.settimeout(10)


def wait_until(done: Callable[[], bool]) -> None:
    """Within ten seconds."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bytes_pass_unchanged_in_both_directions(proxy: Proxy) -> None:
    """More than fits into any buffer, while both sides are busy."""
    sent = random.Random(1).randbytes(8_000_000)
    with dial(proxy) as line:
        sender = threading.Thread(target=line.sendall, args=(sent,))
        sender.start()
        assert receive(line, len(sent)) == sent
        sender.join()
    assert proxy.passed_bytes == 2 * len(sent)


def test_a_reset_is_seen_by_the_client_and_the_next_connection_is_good(proxy: Proxy) -> None:
    """It says how many connections there were."""
    with dial(proxy) as line, dial(proxy) as other:
        for each in (line, other):
            each.sendall(b"x")
            assert receive(each, 1) == b"x"
        assert proxy.reset() == 2
        with pytest.raises(ConnectionResetError):
            receive(line, 1)
    with dial(proxy) as line:
        line.sendall(b"y")
        assert receive(line, 1) == b"y"


def test_a_cut_line_refuses_until_it_is_mended(proxy: Proxy) -> None:
    """As if the program behind were gone."""
    proxy.cut()
    for _ in range(3):
        with pytest.raises(ConnectionError), dial(proxy) as line:
            line.sendall(b"x")
            if not receive(line, 1):
                raise ConnectionResetError
    proxy.mend()
    with dial(proxy) as line:
        line.sendall(b"y")
        assert receive(line, 1) == b"y"


def test_a_server_that_is_away_looks_like_a_cut_line(proxy: Proxy, echo: Echo) -> None:
    """The client gets a reset, not a connection that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        proxy.target = gone.getsockname()[1]
    with pytest.raises(ConnectionError), dial(proxy) as line:
        if not receive(line, 1):
            raise ConnectionResetError


def test_a_partition_loses_nothing(proxy: Proxy, echo: Echo) -> None:
    """What was sent meanwhile arrives after it, in order."""
    with dial(proxy) as line:
        line.sendall(b"a")
        assert receive(line, 1) == b"a"
        proxy.part()
        line.sendall(b"b")
        assert is_silent(line)
        assert echo.got == b"a"
        proxy.mend()
        line.sendall(b"c")
        assert receive(line, 2) == b"bc"


def test_swallowed_answers_are_lost_though_the_request_arrived(proxy: Proxy, echo: Echo) -> None:
    """And the connection that lost some is reset when the line is mended; others live on."""
    with dial(proxy) as line, dial(proxy) as idle:
        idle.sendall(b"i")
        assert receive(idle, 1) == b"i"
        proxy.swallow()
        line.sendall(b"x")
        assert is_silent(line)
        assert echo.got == b"ix"
        proxy.mend()
        with pytest.raises(ConnectionResetError):
            receive(line, 1)
        idle.sendall(b"j")
        assert receive(idle, 1) == b"j"


def test_a_slow_line_delays_and_keeps_the_order(proxy: Proxy) -> None:
    """Never less than the delay in each direction, and chunks do not wait for each other."""
    proxy.slow(0.1)
    with dial(proxy) as line:
        began = time.monotonic()
        for number in range(20):
            line.sendall(bytes([number]))
        assert receive(line, 20) == bytes(range(20))
        assert time.monotonic() - began >= 0.2


def test_a_narrow_line_takes_its_time(proxy: Proxy) -> None:
    """Bytes over rate is the least that they take."""
    proxy.slow(rate=1_000_000)
    with dial(proxy) as line:
        began = time.monotonic()
        line.sendall(bytes(300_000))
        assert receive(line, 300_000) == bytes(300_000)
        assert time.monotonic() - began >= 0.3


def test_nothing_stays_behind(echo: Echo) -> None:
    """Neither a connection nor the port."""
    with Proxy(echo.port) as proxy:
        line = dial(proxy)
        line.sendall(b"x")
        assert receive(line, 1) == b"x"
        port = proxy.port
    with line, pytest.raises(ConnectionResetError):
        receive(line, 1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_client_that_hangs_up_ends_the_servers_connection_too(proxy: Proxy, echo: Echo) -> None:
    """Thousands of short connections leave none open."""
    for _ in range(50):
        with dial(proxy) as line:
            line.sendall(b"x")
            assert receive(line, 1) == b"x"
    wait_until(lambda: proxy.reset() == 0)
    assert proxy.connections == 50
