"""``python -m ops.registry``: the embedded schema registry in the foreground."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from millstream.errors import MillstreamError


def main() -> int:
    """Run it. The exit code is 0 when it was asked to stop, else that of the error."""
    parser = argparse.ArgumentParser(prog="python -m ops.registry", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the folder of its schemas")
    parser.add_argument("--host", default="127.0.0.1", help="who may reach it; no password")
    parser.add_argument("--port", type=int, default=8081, help="0: a free one (default 8081)")
    parser.add_argument("--ready-file", type=Path, help="written, with the URL, once it answers")
    options = parser.parse_args()
    from ops.registry.server import serve  # noqa: PLC0415  # --help is quick without it

    # The server raises the signal again once it has closed everything; that is not an error.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        serve(options.path, options.host, options.port, options.ready_file)
    except MillstreamError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
