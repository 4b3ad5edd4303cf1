"""Which programs answer, where they show it: /ready of each one that left its address in the folder
MILLSTREAM_METRICS_TARGETS, as Prometheus finds them. A program that was killed leaves its address
behind, and does not answer.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any, Final

ANSWER_S_MAX: Final = 1.0
TARGETS_MAX: Final = 200
WHY_CHARS_MAX: Final = 300


class Healths:
    """Of one stream's programs. folder: None where nobody said where they are."""

    def __init__(self, folder: Path | None, stream: str) -> None:
        self._folder = folder
        self._stream = stream

    def look(self) -> list[dict[str, Any]]:
        """program, slot, state (ready, not ready, no answer) and why, by program and slot."""
        if self._folder is None or not self._folder.is_dir():
            return []
        made = []
        for file in sorted(self._folder.glob("*.json"))[:TARGETS_MAX]:
            for instance, address in _targets(file):
                stream, _, rest = instance.partition("/")
                program, _, slot = rest.partition("/")
                if stream == self._stream and program:
                    state, why = _ready(address)
                    made.append({"program": program, "slot": slot, "state": state, "why": why})
        return made


def _targets(file: Path) -> list[tuple[str, str]]:
    """Instance and address of each entry; none where the file is no target's, or just goes."""
    try:
        entries = json.loads(file.read_bytes())
        return [
            (str(entry["labels"]["instance"]), str(address))
            for entry in entries
            for address in entry["targets"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _ready(address: str) -> tuple[str, str]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(
        host, int(port) if port.isdigit() else 0, timeout=ANSWER_S_MAX
    )
    try:
        connection.request("GET", "/ready")
        said = json.loads(connection.getresponse().read(65_536))
        why = "; ".join(str(one) for one in said["why"])[:WHY_CHARS_MAX]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return "no answer", f"nothing answers at {address}"
    finally:
        connection.close()
    return ("ready" if said.get("ready") is True else "not ready"), why
