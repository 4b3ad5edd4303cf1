"""`python -m ops.soak`, or `make soak ARGS="--seconds 600"`: is it still exactly once?

Runs two scorers, a sink, ClickHouse, a registry and a real Kafka on this machine under load; kills
a random one of the programs every 5 s, restarts the broker, disturbs the network; then runs
`millstream verify`. Needs Java 17 and Maven. Ends with 0 when every event has one answer and every
record one row, 1 when not, 3 when a server did not come back, 130 after Ctrl-C.
"""

from __future__ import annotations

import logging
import random
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from rich.console import Console

from millstream.errors import MillstreamError
from ops.process import stop_requests
from ops.soak.run import Interrupted, Soak

SECONDS_MAX = 86_400
SAID_EVERY_S = 10.0


def arguments(argv: list[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m ops.soak", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600, help="of load (%(default)s)")
    parser.add_argument("--rate", type=float, default=20_000, help="events a second (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the faults; else a new one, which is printed")
    parser.add_argument("--folder", type=Path, help="where data and logs lie and stay; else /tmp")
    given = parser.parse_args(argv)
    if not 0 < given.seconds <= SECONDS_MAX or given.rate <= 0:
        parser.error(f"--seconds must be in 0..{SECONDS_MAX} and --rate above 0")
    return given


class _Progress:
    """A line that changes on a terminal; elsewhere one every SAID_EVERY_S."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("") if console.is_terminal else None
        self._last = -SAID_EVERY_S
        if self._status is not None:
            self._status.start()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if self._status is not None:
            self._status.update(text)
        elif now - self._last >= SAID_EVERY_S:
            self._last = now
            self._console.print(text, highlight=False)

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit code."""
    given = arguments(argv)
    logging.basicConfig(level=logging.ERROR)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    console.print(f"seed {seed}: again with --seconds {given.seconds:g} --seed {seed}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="millstream-soak-"))
    progress = _Progress(console)
    keep = given.folder is not None
    try:
        soak = Soak(folder, seed, given.seconds, given.rate, stop_requests(), progress)
        account = soak.run()
    except Interrupted:
        return 130
    except MillstreamError as why:
        keep = True
        console.print(f"soak: {why}")
        return why.exit_code
    finally:
        progress.stop()
        if not keep:
            shutil.rmtree(folder / "kafka", ignore_errors=True)
            shutil.rmtree(folder / "clickhouse", ignore_errors=True)
    console.print(account.table())
    for problem in account.problems:
        console.print(f"WRONG {problem}")
    if account.problems:
        console.print(f"the programs' logs are in {folder / 'run' / 'logs'}")
        return 1
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
