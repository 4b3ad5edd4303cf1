"""What a contender is told: where the broker is, what to read, what to score it with.

Peers read it in environments of their own: standard library only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Job:
    """One contender's work, as JSON in a file.

    schema, model: paths of the event's Avro schema and of the ONNX file.
    tensor, scores: names of the model's input and output; positive: column of the score.
    width: type of the input, float64 or float32. features: event fields in model order.
    guarantee: exactly_once or at_least_once. commit_ms: between two commits or transactions.
    folder: for state and logs of its own.
    """

    bootstrap: str
    events: str
    output: str
    group: str
    schema: str
    model: str
    tensor: str
    scores: str
    positive: int
    width: str
    features: list[str]
    guarantee: str
    commit_ms: int
    folder: str
    batch: bool = False
    threads: int = 1

    @property
    def exactly_once(self) -> bool:
        """Whether answers and offsets must become visible together."""
        return self.guarantee == "exactly_once"

    def write(self, path: Path) -> Path:
        """Write it; returns the path."""
        path.write_text(json.dumps(asdict(self), indent=1), "utf-8")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Job:
        """Read what `write` wrote."""
        return cls(**json.loads(Path(path).read_text("utf-8")))
