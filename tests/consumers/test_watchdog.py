"""The watchdog: a call that does not return ends the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from consumers.watchdog import EXIT_CODE, Watchdog
from tests.clock import Clock


class Left:
    """Remembers that the process would have ended."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.happened = threading.Event()

    def __call__(self, code: int) -> None:
        self.codes.append(code)
        self.happened.set()


@pytest.fixture
def clock() -> Clock:
    """The watchdog's clock."""
    return Clock()


@pytest.fixture
def left() -> Left:
    """Its way out."""
    return Left()


@pytest.fixture
def watchdog(clock: Clock, left: Left) -> Iterator[Watchdog]:
    """A call may last 10 s."""
    made = Watchdog(10.0, clock, left)
    yield made
    made.close()


def test_a_call_within_its_bound_is_left_alone(
    watchdog: Watchdog, clock: Clock, left: Left
) -> None:
    """To the last moment."""
    with watchdog.watch("commit_transaction"):
        clock.now += 10.0
        watchdog.look()
    assert left.codes == []


def test_a_call_over_its_bound_ends_the_process(
    watchdog: Watchdog, clock: Clock, left: Left, caplog: pytest.LogCaptureFixture
) -> None:
    """With the watchdog's exit code, and a line that names the call and what happens next."""
    with watchdog.watch("commit_transaction"):
        clock.now += 10.1
        watchdog.look()
    assert left.codes[0] == EXIT_CODE
    assert "commit_transaction has not returned for 10 s" in caplog.text
    assert "must be started again" in caplog.text


def test_the_thread_looks_by_itself(watchdog: Watchdog, clock: Clock, left: Left) -> None:
    """Nobody else can while the call hangs."""
    with watchdog.watch("commit_transaction"):
        clock.now += 11.0
        assert left.happened.wait(30.0)


def test_time_outside_of_calls_does_not_count(watchdog: Watchdog, clock: Clock, left: Left) -> None:
    """Every call starts anew, also after one that raised."""
    with pytest.raises(KeyError), watchdog.watch("first"):
        clock.now += 9.0
        raise KeyError
    clock.now += 1_000.0
    watchdog.look()
    with watchdog.watch("second"):
        clock.now += 9.0
        watchdog.look()
    assert left.codes == []


def test_a_closed_watchdog_has_no_thread(clock: Clock, left: Left) -> None:
    """Closing twice is harmless."""
    before = threading.active_count()
    made = Watchdog(10.0, clock, left)
    assert threading.active_count() == before + 1
    made.close()
    made.close()
    assert threading.active_count() == before


def test_the_real_way_out_needs_nobodys_help() -> None:
    """The process ends although its main thread hangs and would never raise SystemExit."""
    program = (
        "import threading\n"
        "from consumers.watchdog import Watchdog\n"
        "with Watchdog(0.01).watch('x'):\n"
        "    threading.Event().wait()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == EXIT_CODE
