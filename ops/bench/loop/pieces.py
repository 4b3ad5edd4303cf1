"""One stream with one delay, as it went through Kafka: counted, kept in a file, read again. Pure
but for the file."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from millstream.errors import InvariantBroken
from ops.bench.loop.prequential import Bools, Run
from ops.bench.loop.staging import FIRST
from ops.bench.loop.streams import Stream

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Setting:
    """How a stream is fed. rate: events a second, 0: time stands still while the retrainer
    computes. step: events between two looks. schedule, trial: staging.Terms."""

    step: int
    schedule: int
    rate: float = 0.0
    trial: bool = False

    @property
    def said(self) -> str:
        """For people, and for the file's name."""
        pace = f"{self.rate:g} a second" if self.rate else "standing"
        return f"{pace}{', on trial' if self.trial else ''}"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows of the labelled table from the first one counted on, in the order of their offsets."""

    offsets: Sequence[int]
    predicted: Sequence[str]
    labels: Sequence[str]
    versions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Counted:
    """right, frozen: bool [events], the answers in Kafka and the first model's own. answered_first:
    answers by the first model; differing: those of them that its own session answers otherwise."""

    right: Bools
    frozen: Bools
    answered_first: int
    differing: int


@dataclass(frozen=True, slots=True)
class Piece:
    """swaps: events, counted from the first one, from which another champion answered. facts: what
    else was seen, as JSON's types."""

    stream: str
    delay: int
    setting: Setting
    counted: Counted
    swaps: tuple[int, ...]
    clean: bool
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def loop(self) -> Run:
        """As the one-process bench has it."""
        return Run(self.counted.right, self.swaps)

    @property
    def frozen(self) -> Run:
        """The first model alone."""
        return Run(self.counted.frozen, ())


def count(rows: Labelled, said: Sequence[str], data: Stream) -> Counted:
    """Each answer against its outcome. said: the first model's labels of the rows behind the
    warm-up. Raises InvariantBroken where a row is missing, doubled, or has another outcome than the
    data set."""
    first = data.warm_up
    if list(rows.offsets) != list(range(first, len(data))):
        raise InvariantBroken(
            f"{data.name} has {len(rows.offsets):,} labelled rows for {len(data) - first:,} events",
            "Run `millstream verify` on the stream while it is up, and look at its logs",
        )
    labels = np.asarray(rows.labels, object)
    if (labels != data.labels[first:].astype(str)).any():
        raise InvariantBroken(
            f"{data.name}: outcomes came to other events than theirs", "Mend the join"
        )
    predicted, own = np.asarray(rows.predicted, object), np.asarray(said, object)
    by_first = np.asarray(rows.versions, object) == FIRST
    return Counted(
        np.asarray(predicted == labels, bool),
        np.asarray(own == labels, bool),
        int(by_first.sum()),
        int((predicted != own)[by_first].sum()),
    )


def file_of(folder: Path, stream: str, delay: int, setting: Setting) -> Path:
    """Where a piece is kept."""
    said = setting.said.replace(", ", "-").replace(" ", "-")
    return folder / f"{stream}-{delay}-{said}.json"


def save(piece: Piece, folder: Path) -> Path:
    """Write it; what was there under this stream, delay and setting is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    counted = {
        "right": _packed(piece.counted.right),
        "frozen": _packed(piece.counted.frozen),
        "events": len(piece.counted.right),
        "answered_first": piece.counted.answered_first,
        "differing": piece.counted.differing,
    }
    told = {
        "format": FORMAT,
        "stream": piece.stream,
        "delay": piece.delay,
        "setting": asdict(piece.setting),
        "counted": counted,
        "swaps": list(piece.swaps),
        "clean": piece.clean,
        "facts": piece.facts,
    }
    path = file_of(folder, piece.stream, piece.delay, piece.setting)
    path.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return path


def read(path: Path) -> Piece:
    """Raises KeyError or ValueError where it is no piece."""
    told = json.loads(path.read_text("utf-8"))
    if told["format"] != FORMAT:
        raise ValueError(f"{path} has format {told['format']}")
    counted, events = told["counted"], told["counted"]["events"]
    return Piece(
        told["stream"],
        told["delay"],
        Setting(**told["setting"]),
        Counted(
            _unpacked(counted["right"], events),
            _unpacked(counted["frozen"], events),
            counted["answered_first"],
            counted["differing"],
        ),
        tuple(told["swaps"]),
        told["clean"],
        told["facts"],
    )


def _packed(bits: Bools) -> str:
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def _unpacked(text: str, length: int) -> Bools:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=length)
    return bits.astype(bool)
