"""What happens where the kernels cannot be compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import json, logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
if "missing" in sys.argv:
    sys.modules["numba"] = None
from millstream.columnar import Encoder, make_decoder
text = json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]})
decoder, encoder = make_decoder(text), Encoder(text)
make_decoder(text)
for times in (1, 40):
    out = decoder.decode([bytes([4]) + b"ab", bytes([4]) + b"a"] * times)
    assert out.columns.column("a").to_pylist() == ["ab"] * times
    assert len(out.refusals) == times
    assert encoder.encode(out.columns) == [bytes([4]) + b"ab"] * times
print(type(decoder).__name__, encoder._kernel is not None)
"""


def run(*arguments: str, **environment: str) -> tuple[str, str]:
    """What a new process prints and logs."""
    made = subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip(), made.stderr.strip()


def test_without_numba_pyruhvro_does_the_work_after_one_warning() -> None:
    """The program runs on, and says once that it is slower."""
    printed, logged = run("missing")
    assert printed == "BatchDecoder False"
    assert logged.splitlines() == [
        "WARNING no compiled codec, pyruhvro is used: ModuleNotFoundError: "
        "import of numba halted; None in sys.modules"
    ]


def test_with_numba_nothing_is_said() -> None:
    """The kernels are silent."""
    assert run() == ("KernelDecoder True", "")
