"""What a client may do, enforced by the engine itself.

A ClickHouse server keeps file() inside of a folder and SYSTEM SHUTDOWN with its administrators. The
embedded engine lets its one user do everything, with the rights of the operator who runs it: read
their files, write them, end the process. So it is started with grants that leave those out. Two
things had to be found by trial:

* The grants count only if ``users_config`` is named by a ``config-file``; given directly, it is
  ignored without a word.
* Its database ``default`` is laid over the file system (a quoted path is a table), and without the
  right to read files nothing can be created in it. `plain_default` takes the layer
  away; the tables stay, and a chDB that opens the path later finds them where they were.

Its profile leaves out a cache that loses rows (millstream/warehouse/caching.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from millstream.functions.config import CONFIG_FILE, SCRIPTS
from millstream.warehouse.caching import CONDITION_CACHE

GRANTED: Final = (
    "CHECK, SHOW, SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, "
    "KILL QUERY, MOVE PARTITION BETWEEN SHARDS, SYSTEM FLUSH, SYSTEM MERGES, SYSTEM TTL MERGES, "
    "SYSTEM DROP CACHE, SYSTEM RELOAD, SYSTEM VIEWS, SYSTEM WAIT LOADING PARTS, dictGet, "
    "INTROSPECTION"
)
"""Everything on the database's own tables; no sources (FILE, URL, S3, REMOTE, ...), no users."""

_USERS = f"""\
<clickhouse>
  <profiles><default><{CONDITION_CACHE}>0</{CONDITION_CACHE}></default></profiles>
  <quotas><default></default></quotas>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks>
    <profile>default</profile><quota>default</quota>
    <grants><query>GRANT {GRANTED} ON *.*</query></grants>
  </default></users>
</clickhouse>
"""


def write_config(folder: Path, functions: Path | None = None) -> Path:
    """Write the engine's configuration into `folder` and return the path for ``config-file``.

    functions: a folder of `millstream sql-functions`, whose scripts the engine may start.
    """
    users = folder / "users.xml"
    users.write_text(_USERS, encoding="utf-8")
    config = folder / "config.xml"
    nowhere = escape(str(folder / "none"))
    scripts, own = nowhere, ""
    if functions is not None:
        scripts = escape(str(functions / SCRIPTS))
        described = escape(str(functions / CONFIG_FILE))
        own = (
            "<user_defined_executable_functions_config>"
            f"{described}</user_defined_executable_functions_config>"
        )
    config.write_text(
        f"<clickhouse><users_config>{escape(str(users))}</users_config>"
        f"<user_files_path>{nowhere}/</user_files_path>"
        f"<user_scripts_path>{scripts}/</user_scripts_path>{own}</clickhouse>\n",
        encoding="utf-8",
    )
    return config


def plain_default(connection: Any) -> None:
    """Make ``default`` a plain Atomic database with the same identity, hence the same tables.

    Killed between the two statements, the next start finds everything as it was. Raises
    RuntimeError from the engine.
    """
    found = connection.query(
        "SELECT engine, uuid FROM system.databases WHERE name = 'default'", "TabSeparatedRaw"
    )
    engine, identity = found.bytes().decode().split()
    if engine == "Overlay":
        connection.query("DETACH DATABASE default")
        connection.query(f"ATTACH DATABASE default UUID '{identity}' ENGINE = Atomic")
