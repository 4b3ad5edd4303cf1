"""Where the benchmark runs: the machine, the versions, the load."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import confluent_kafka

from ops.bench.environments import PEERS
from ops.bench.usage import cores
from ops.kafka.fetch import REPOSITORY, java

LIBRARIES = ("confluent-kafka", "onnxruntime", "numpy", "pyarrow", "pyruhvro", "fastavro", "chdb")
PEER_LIBRARIES = {"quix": "quixstreams", "bytewax": "bytewax", "faust": "faust-streaming"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a result was measured on. load: the averages over 1, 5 and 15 minutes at the start."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    commit: str
    load: tuple[float, float, float]
    versions: dict[str, str]


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        _cpu(),
        cores(),
        round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        f"{platform.system()} {platform.release()}",
        _commit(),
        os.getloadavg(),
        _versions(),
    )


def plain(text: str) -> str:
    """Without the paths of this machine."""
    return text.replace(str(REPOSITORY), ".").replace(str(Path.home()), "~")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    run = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return run.stdout.strip() or "not a checkout"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    found["librdkafka"] = str(confluent_kafka.libversion()[0])
    for peer, name in PEER_LIBRARIES.items():
        lock = (PEERS / peer / "requirements.lock").read_text("utf-8")
        found[name] = _first(rf"^{name}==([\w.]+)", lock)
    pom = (PEERS / "java" / "pom.xml").read_text("utf-8")
    for name in ("kafka-streams", "onnxruntime"):
        found[f"{name} (Java)"] = _first(
            rf"<artifactId>{name}</artifactId>\s*<version>([\w.]+)", pom
        )
    broker = (REPOSITORY / "ops" / "kafka" / "pom.xml").read_text("utf-8")
    found["kafka"] = _first(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\w.]+)", broker)
    said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=False).stderr
    found["java"] = _first(r'version "([^"]+)"', said)
    return found


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else "unknown"
