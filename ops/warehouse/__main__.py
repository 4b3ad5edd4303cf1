"""``python -m ops.warehouse``: serve an embedded ClickHouse over HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from pydantic import SecretStr

from millstream.errors import OperatorNeeded
from ops.warehouse.serve import serve

PASSWORD_VARIABLE = "MILLSTREAM_WAREHOUSE_PASSWORD"  # noqa: S105 (a name, not a password)

EPILOG = f"""\
example:
  python -m ops.warehouse --path ./warehouse --port 8123
  curl 'http://127.0.0.1:8123/?query=SELECT+version()'

Reads and writes the folder given by --path; needs it to be open in no other process.
The password is read from {PASSWORD_VARIABLE}; anywhere but on loopback it is required.
"""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ops.warehouse",
        description="Serve the embedded ClickHouse to any ClickHouse HTTP client.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--path", type=Path, required=True, help="the database's folder")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="0: a free one (%(default)s)")
    parser.add_argument("--ready-file", type=Path, help="gets the URL once the server answers")
    parser.add_argument("--functions", type=Path, help="a folder of `millstream sql-functions`")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop. Returns the exit code: 0, or 2 if an operator is needed."""
    arguments = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    password = os.environ.get(PASSWORD_VARIABLE)
    # The engine is clickhouse-local's kin and would read an INSERT's data from standard input.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        serve(
            arguments.path,
            arguments.host,
            arguments.port,
            SecretStr(password) if password is not None else None,
            arguments.ready_file,
            arguments.functions,
        )
    except OperatorNeeded as error:
        logging.getLogger("ops.warehouse").error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
