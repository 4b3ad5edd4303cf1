"""What ClickHouse must be told of the functions: one XML file, and a script for each of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from millstream.errors import SettingsInvalid
from millstream.models.durable import disk, write_whole

CONFIG_FILE: Final = "millstream_function.xml"
"""A server reads every `*_function.xml` beside its own configuration."""
SCRIPTS: Final = "user_scripts"
FUNCTIONS: Final = {
    "millstream_score": "Nullable(Float64)",
    "millstream_answer": "Tuple(score Nullable(Float64), scores Array(Float64), "
    "label Nullable(String), confidence Nullable(Float64), refused String, model String)",
}
"""Name -> type of the result. score: the prediction's, null for a row that the stream would refuse.
The others too are the prediction's; refused: `stage: name: reason`, empty where it was scored;
model: NAME@VERSION of what answered."""
ANSWER_S_MAX: Final = 120
"""Of one chunk, the first one's model and libraries included."""


@dataclass(frozen=True, slots=True)
class Pool:
    """processes: of each function, started as they are needed; more answer more queries at once,
    and each holds its models. python: the interpreter that they run by."""

    python: Path
    processes: int = 2


def write_functions(folder: Path, streams: Sequence[Path], pool: Pool) -> list[Path]:
    """Write the configuration and the scripts into `folder`; the files, the configuration last.

    streams: the absolute paths of their stream.toml. Raises SettingsInvalid where a path is none,
    DependencyUnavailable where the disk does not take a file.
    """
    for path in (*streams, pool.python):
        if not path.is_absolute() or not str(path).isprintable():
            raise SettingsInvalid(f"{path} is no absolute path", "Give the whole path")
    scripts = folder / SCRIPTS
    made = []
    with disk(folder):
        scripts.mkdir(parents=True, exist_ok=True)
        for function in FUNCTIONS:
            file = scripts / function
            write_whole(file, _script(function, streams, pool.python).encode())
            file.chmod(0o755)
            made.append(file)
        write_whole(folder / CONFIG_FILE, _config(pool.processes).encode())
    return [*made, folder / CONFIG_FILE]


def _script(function: str, streams: Sequence[Path], python: Path) -> str:
    # No word of the caller's: a query can name a script and its arguments.
    words = [str(python), "-m", "millstream", "score-rows", "--function", function]
    return f"#!/bin/sh\nexec {shlex.join([*words, *map(str, streams)])}\n"


def _config(processes: int) -> str:
    return (
        "<functions>\n"
        + "".join(_entry(name, result, processes) for name, result in FUNCTIONS.items())
        + "</functions>\n"
    )


def _entry(function: str, result: str, processes: int) -> str:
    arguments = "".join(
        f"    <argument><type>String</type><name>{name}</name></argument>\n"
        for name in ("stream", "features")
    )
    entries = {
        "type": "executable_pool",
        "name": function,
        "return_type": result,
        "format": "RowBinary",
        "command": function,
        "execute_direct": "1",
        "send_chunk_header": "1",
        "pool_size": str(processes),
        "max_command_execution_time": str(ANSWER_S_MAX),
        "command_read_timeout": str(ANSWER_S_MAX * 1_000),
        "command_write_timeout": str(ANSWER_S_MAX * 1_000),
        "command_termination_timeout": "5",
        # A query that names no stream of ours ends with the words of the script.
        "stderr_reaction": "throw",
    }
    lines = "".join(f"    <{key}>{escape(value)}</{key}>\n" for key, value in entries.items())
    return f"  <function>\n{lines}{arguments}  </function>\n"
