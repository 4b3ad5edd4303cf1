"""Who takes part, with which guarantees, and how each is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from millstream.models.bundle import Bundle
from millstream.models.card import Card
from ops.bench.data import Subject, features
from ops.bench.environments import java_peers, python_of
from ops.bench.job import Job
from ops.kafka.fetch import REPOSITORY

EXACTLY, AT_LEAST = "exactly_once", "at_least_once"
COMMIT_MS = 100
"""Between two commits or transactions of the peers; the default of Kafka Streams."""

Start = tuple[list[str], dict[str, str]]
"""A command line, and what it adds to the environment."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to score a stream.

    guarantees: which of the two it has. command: a job's path and the job -> how to start it;
    None for Millstream, which reads stream.toml. processes: how many of it run at once.
    scores: whether it scores at all. quick: whether `--quick` runs it.
    """

    name: str
    title: str
    guarantees: tuple[str, ...]
    command: Callable[[Path, Job], Start] | None
    batch: bool = False
    threads: int = 1
    processes: int = 1
    scores: bool = True
    quick: bool = False
    latency: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_millstream(self) -> bool:
        """Whether it is the program that this benchmark belongs to."""
        return self.command is None


def _ours(module: str) -> Callable[[Path, Job], Start]:
    """A peer that runs on the libraries of our own environment, in the same versions."""

    def start(path: Path, job: Job) -> Start:
        return [sys.executable, "-m", f"ops.bench.peers.{module}", str(path)], {}

    return start


def _faust(path: Path, job: Job) -> Start:
    python = str(python_of("faust", build=False))
    return [python, "-m", "ops.bench.peers.faust.app", str(path)], {"PYTHONPATH": str(REPOSITORY)}


def _quix(path: Path, job: Job) -> Start:
    argv = [str(python_of("quix", build=False)), "-m", "ops.bench.peers.quix.app", str(path)]
    return argv, {"PYTHONPATH": str(REPOSITORY)}


def _bytewax(path: Path, job: Job) -> Start:
    python = str(python_of("bytewax", build=False))
    store = Path(job.folder) / "recovery"
    # the store is made by its own program, then the flow takes the process over
    script = (
        "import os, subprocess, sys\n"
        f"os.makedirs({str(store)!r})\n"
        f"subprocess.run([sys.executable, '-m', 'bytewax.recovery', {str(store)!r}, '1'],"
        " check=True)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'bytewax.run',"
        f" 'ops.bench.peers.bytewax.flow:flow', '-r', {str(store)!r}, '-s', '10', '-b', '0'])\n"
    )
    return [python, "-c", script], {"PYTHONPATH": str(REPOSITORY), "BENCH_JOB": str(path)}


def _java(name: str) -> Callable[[Path, Job], Start]:
    def start(path: Path, job: Job) -> Start:
        return [*java_peers(build=False), f"bench.{name}", str(path)], {}

    return start


BOTH = (EXACTLY, AT_LEAST)
CONTENDERS: dict[str, Contender] = {
    each.name: each
    for each in (
        Contender("millstream", "Millstream", BOTH, None, quick=True, latency=True),
        Contender("millstream-2", "Millstream, two processes", (EXACTLY,), None, processes=2),
        Contender(
            "millstream-2t", "Millstream, two threads of ONNX Runtime", (EXACTLY,), None,
            environment={"MILLSTREAM_SCORER_THREADS": "2"},
        ),
        Contender(
            "streams-1", "Kafka Streams, one thread", BOTH, _java("Streams"), latency=True
        ),
        Contender(
            "streams-2", "Kafka Streams, two threads", BOTH, _java("Streams"), threads=2,
            quick=True, latency=True,
        ),
        Contender("java", "Java consumer loop in batches", BOTH, _java("Loop"), batch=True,
                  latency=True),
        Contender("plain", "confluent-kafka, event by event", BOTH, _ours("plain"), quick=True,
                  latency=True),
        Contender("plain-batch", "confluent-kafka, consume(1000)", BOTH, _ours("plain"),
                  batch=True),
        Contender("quix", "Quix Streams", BOTH, _quix, latency=True),
        Contender("bytewax", "Bytewax, batches of 1,000", (AT_LEAST,), _bytewax, batch=True),
        Contender("faust", "Faust, event by event", (AT_LEAST,), _faust, latency=True),
        Contender("faust-take", "Faust, take(1000, 0.05)", (AT_LEAST,), _faust, batch=True),
        Contender("echo", "Python echo that scores nothing", BOTH, _ours("echo"), scores=False,
                  quick=True, latency=True),
    )
}  # fmt: skip


def prepare(contender: Contender, build: bool) -> None:
    """Make the environment that it needs. Raises OperatorNeeded where that fails."""
    if contender.command in (_quix, _bytewax, _faust):
        python_of(contender.name.partition("-")[0], build)
    elif contender.name in {"streams-1", "streams-2", "java"}:
        java_peers(build)


def job_for(
    contender: Contender, subject: Subject, stream: Path, bootstrap: str, folder: Path
) -> Job:
    """A peer's job, its topics still to be named. stream: the folder of the subject's stream."""
    bundle = Bundle.load(stream / "bundle")
    card: Card = bundle.card
    tensor, width, positive = model_ports(bundle)
    return Job(
        bootstrap=bootstrap,
        events="",
        output="",
        group="",
        schema=str(stream / "event.avsc"),
        model=str(stream / "bundle" / "model.onnx"),
        tensor=tensor,
        scores=card.output.scores,
        positive=positive,
        width=width,
        features=[feature.name for feature in features(subject.shape)],
        guarantee="",
        commit_ms=COMMIT_MS,
        folder=str(folder),
        batch=contender.batch,
        threads=contender.threads,
    )


def model_ports(bundle: Bundle) -> tuple[str, str, int]:
    """(input tensor, float64 or float32, column of the positive score in the output)."""
    import numpy as np  # noqa: PLC0415
    import onnxruntime as ort  # noqa: PLC0415

    session = ort.InferenceSession(bundle.model_bytes, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    width = "float64" if port.type == "tensor(double)" else "float32"
    zeros = np.zeros((1, len(bundle.card.features)), width)
    scores = session.run([bundle.card.output.scores], {port.name: zeros})[0].reshape(1, -1)
    return port.name, width, scores.shape[1] - 1


def millstream_start(stream: Path, guarantee: str, slot: int, ready: Path) -> list[str]:
    """The scorer's command line. stream: the folder of the subject's stream."""
    argv = [sys.executable, "-m", "millstream", "score", str(stream / f"{guarantee}.toml")]
    return [*argv, "--slot", str(slot), "--ready-file", str(ready)]
