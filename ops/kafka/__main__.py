"""``python -m ops.kafka``: a real Kafka in the foreground, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from millstream.errors import MillstreamError
from ops.kafka.broker import Broker
from ops.process import stop_requests, write_ready_file


def main() -> int:
    """Run it. The exit code is 0 when it was asked to stop, else that of the error."""
    parser = argparse.ArgumentParser(prog="python -m ops.kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="0: a free one (default 9092)")
    parser.add_argument("--data", type=Path, help="its log's folder; none: removed at the end")
    parser.add_argument("--heap-mb", type=int, default=512, help="its Java heap (default 512)")
    parser.add_argument("--ready-file", type=Path, help="written, with the address, once it is up")
    options = parser.parse_args()
    asked_to_stop = stop_requests()
    try:
        with Broker(options.data, port=options.port, heap_mb=options.heap_mb) as broker:
            sys.stdout.write(f"{broker.bootstrap}\n")
            sys.stdout.flush()
            if options.ready_file is not None:
                write_ready_file(options.ready_file, broker.bootstrap)
            asked_to_stop.wait()
    except MillstreamError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
