"""The producer examples, built once below .run as their README says, and how each is started."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.kafka.fetch import REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "producers"
BUILT = REPOSITORY / ".run" / "producers"
BUILD_S_MAX = 300


def python() -> list[str]:
    """Needs nothing but the environment of the tests."""
    return [sys.executable, str(EXAMPLES / "python" / "publish.py")]


def java() -> list[str]:
    """Compiled by Maven."""
    folder = _built("java", ["mvn", "-B", "-q", "compile", "dependency:copy-dependencies"], "java")
    target = folder / "target"
    path = f"{target / 'classes'}:{target / 'dependency'}/*"
    return ["java", "-Xmx256m", "-cp", path, "producer.Publish"]


def javascript() -> list[str]:
    """Its packages fetched by npm, those of its lock file."""
    folder = _built(
        "javascript", ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], "node"
    )
    return ["node", str(folder / "publish.mjs")]


STARTS: dict[str, Callable[[], list[str]]] = {
    "python": python,
    "java": java,
    "javascript": javascript,
}


def _built(name: str, command: list[str], runs: str) -> Path:
    """A copy of the example in which the command was run; skips where a program is missing, fails
    if CI is true."""
    for program in (command[0], runs):
        if shutil.which(program) is None:
            reason = f"{program} is not on PATH: the producer in {name} is not tried"
            if os.environ.get("CI") == "true":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
    source = EXAMPLES / name
    ignored = {"target", "node_modules"}
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and not ignored & set(path.relative_to(source).parts)
    ]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:8]
    final = BUILT / f"{name}-{digest}"
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.is_dir():
            work = BUILT / f".{name}-{digest}"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(source, work, ignore=shutil.ignore_patterns(*ignored))
            run = subprocess.run(
                command, cwd=work, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False
            )
            assert run.returncode == 0, run.stdout[-2_000:] + run.stderr[-2_000:]
            work.rename(final)
    return final
