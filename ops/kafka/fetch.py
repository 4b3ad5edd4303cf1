"""The jars of Apache Kafka and of a schema registry, fetched once by Maven.

They lie in ``.run/jars`` below the repository, or in the folder that ``MILLSTREAM_CACHE`` names.
A cache entry is named after its pom's digest: a changed version is fetched beside the old one.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from millstream.errors import OperatorNeeded

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
JAVA_VERSION_MIN = 17
FETCH_TIMEOUT_S = 900
REGISTRY_JAR = "apicurio-registry-app-2.6.13.Final-runner.jar"


def cache_folder() -> Path:
    """Where the jars are kept."""
    named = os.environ.get("MILLSTREAM_CACHE")
    return Path(named).expanduser().resolve() if named else REPOSITORY / ".run" / "jars"


def fetch_kafka() -> Path:
    """The folder with Kafka's jars; its class path is ``FOLDER/*``.

    The first call takes 7 to 20 s and a network; later ones only look. Several processes may call
    it at once, and one that was killed leaves nothing that a later call trips over.
    Raises OperatorNeeded: Java or Maven is missing, or Maven failed.
    """
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    return _fetch("kafka", HERE / "pom.xml", goal, "kafka_2.13-*.jar")


def fetch_registry() -> Path:
    """The folder with Apicurio Registry (REGISTRY_JAR and its ``lib``); as fetch_kafka."""
    return _fetch(
        "registry", HERE / "registry.pom.xml", ["dependency:unpack-dependencies"], REGISTRY_JAR
    )


@functools.cache
def java() -> str:
    """The path of a Java that can run Kafka 4 (17 or newer): JAVA_HOME's, or PATH's.

    Raises OperatorNeeded where there is none.
    """
    remedy = f"Install a Java runtime, {JAVA_VERSION_MIN} or newer (openjdk-17-jre-headless)"
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None:
        raise OperatorNeeded("java is not on PATH", remedy)
    try:
        run = subprocess.run([found, "-version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperatorNeeded(f"{found} does not start: {error}", remedy) from error
    version = re.search(rb'version "(?:1\.)?(\d+)', run.stderr)
    if run.returncode != 0 or version is None:
        raise OperatorNeeded(f"{found} -version fails", remedy)
    if int(version.group(1)) < JAVA_VERSION_MIN:
        raise OperatorNeeded(f"{found} is Java {version.group(1).decode()}", remedy)
    return found


def _fetch(name: str, pom: Path, goal: Sequence[str], proof: str) -> Path:
    """Fetch once. goal: Maven's; proof: the glob of a file that a complete folder has."""
    java()
    cache = cache_folder()
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    final = cache / f"{name}-{digest}"
    if final.is_dir():
        return final
    cache.mkdir(parents=True, exist_ok=True)
    # The lock makes a second process wait instead of downloading too, and ends with its holder;
    # the rename alone is what makes a half-fetched folder impossible to see.
    with (cache / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        for abandoned in cache.glob(f".{name}-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
        try:
            jars = work / "jars"
            copied = work / "pom.xml"  # Maven writes beside its pom
            shutil.copy(pom, copied)
            _maven(name, copied, [*goal, f"-DoutputDirectory={jars}"])
            if not any(jars.glob(proof)):
                raise OperatorNeeded(
                    f"Maven fetched no {proof} for {pom.name}", "Look at the versions in it"
                )
            jars.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def _maven(name: str, pom: Path, goal: Sequence[str]) -> None:
    found = shutil.which("mvn")
    if found is None:
        raise OperatorNeeded(
            f"mvn is not on PATH, and the jars of {name} are not in {cache_folder()}",
            "Install Maven (the package maven)",
        )
    argv = [found, "-B", "-q", "-Dstyle.color=never", "-f", str(pom), *goal]
    try:
        run = subprocess.run(
            argv, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OperatorNeeded(
            f"Maven did not fetch the jars of {name} in {FETCH_TIMEOUT_S} s",
            "Look at the network, and at the proxy and mirrors in ~/.m2/settings.xml; run it again",
        ) from error
    if run.returncode != 0:
        said = [line for line in run.stdout.splitlines() if line.startswith("[ERROR]")]
        raise OperatorNeeded(
            f"Maven could not fetch the jars of {name}: {said[0] if said else run.stderr[-300:]}",
            "Look at the network, and at the proxy and mirrors in ~/.m2/settings.xml; run it again",
        )
