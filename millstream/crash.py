"""Where a crash test wants the process to die: MILLSTREAM_CRASH_AFTER=scorer:3:2.

Program, numbered step, and how many times the step must have been passed (1 if left out). The
process kills itself with SIGKILL, so nothing is flushed, closed or said. With :stop behind it
(scorer:3:2:stop) it stops itself instead, as a machine that hangs, until it gets SIGCONT.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from millstream.errors import SettingsInvalid

VARIABLE = "MILLSTREAM_CRASH_AFTER"


class CrashPoint:
    """Does nothing, unless the environment names this program."""

    def __init__(self, program: str, environ: Mapping[str, str]) -> None:
        self._step: int | None = None
        self._left = 0
        self._signal = signal.SIGKILL
        wanted = environ.get(VARIABLE, "")
        if not wanted:
            return
        name, _, rest = wanted.partition(":")
        step, _, rest = rest.partition(":")
        times, _, how = rest.partition(":")
        counts = all(part.isdecimal() and int(part) > 0 for part in (step, times or "1"))
        if not counts or how not in {"", "stop"}:
            raise SettingsInvalid(
                f"{VARIABLE}={wanted} is not PROGRAM:STEP[:TIMES[:stop]]", "Unset it"
            )
        if name == program:
            self._step, self._left = int(step), int(times or "1")
            self._signal = signal.SIGSTOP if how else signal.SIGKILL

    def after(self, step: int) -> None:
        """The program has done this numbered step."""
        if step != self._step:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._signal)
