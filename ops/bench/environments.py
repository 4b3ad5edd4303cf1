"""The peers' environments: made once under .run/bench, each from its lock file or its pom."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from millstream.errors import OperatorNeeded
from ops.kafka.fetch import REPOSITORY, java

PEERS = Path(__file__).parent / "peers"
CACHE = REPOSITORY / ".run" / "bench" / "environments"
TIMEOUT_S = 600


def python_of(peer: str, build: bool = True) -> Path:
    """The interpreter of a peer's own environment.

    Raises OperatorNeeded: it cannot be installed here, or is not there and `build` is false.
    """
    lock = PEERS / peer / "requirements.lock"
    folder = CACHE / f"{peer}-{_digest([lock])}"
    python = folder / "bin" / "python"
    if (folder / ".ready").exists():
        return python
    _require(build, peer)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)], peer)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(lock)], peer)
    (folder / ".ready").touch()
    return python


def java_peers(build: bool = True) -> list[str]:
    """`java -cp ...` with the compiled peers on its class path. Raises as python_of."""
    source = PEERS / "java"
    files = sorted(path for path in source.rglob("*") if path.suffix in {".java", ".xml"})
    folder = CACHE / f"java-{_digest(files)}"
    if not (folder / ".ready").exists():
        _require(build, "Kafka Streams")
        maven = shutil.which("mvn")
        if maven is None:
            raise OperatorNeeded("mvn is not on PATH", "Install Maven (the package maven)")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("target"))
        goals = ["package", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        _run([maven, "-B", "-q", "-f", str(folder), *goals], "Kafka Streams")
        (folder / ".ready").touch()
    target = folder / "target"
    return [java(), "-Xmx1g", "-cp", f"{target / 'bench.jar'}:{target / 'dependency'}/*"]


def _require(build: bool, peer: str) -> None:
    if not build:
        raise OperatorNeeded(
            f"{peer} is not installed", "Run `python -m ops.bench` once without --quick"
        )


def _digest(files: list[Path]) -> str:
    content = b"\0".join(path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()[:8]


def _run(argv: list[str], what: str) -> None:
    try:
        run = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as why:
        raise OperatorNeeded(
            f"{what} was not installed in {TIMEOUT_S} s", "Look at the network; run it again"
        ) from why
    if run.returncode != 0:
        said = (run.stdout + run.stderr).strip().splitlines()[-3:]
        raise OperatorNeeded(
            f"{what} cannot be installed: {' '.join(said)[-400:]}",
            "Look at the network, and at the versions that it asks for",
        )
