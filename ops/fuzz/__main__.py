"""``python -m ops.fuzz``: damaged records through the compiled decoder and the row reader."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.fuzz.run import Counts, Disagreement, fuzz


def main() -> int:
    """Run it. The exit code is 0 if the readers agreed about every record, else 1."""
    parser = argparse.ArgumentParser(prog="python -m ops.fuzz", description=__doc__)
    parser.add_argument("--records", type=int, default=10_000_000, help="default 10,000,000")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--minutes", type=float, default=30.0, help="stop after (default 30)")
    options = parser.parse_args()
    faulthandler.enable()  # a read past a buffer ends here, with the batch's traceback
    counts, start = Counts(), time.monotonic()
    bar = Progress(
        TextColumn("damaged records"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    code = 0
    with bar:
        task = bar.add_task("", total=options.records)
        try:
            for read in fuzz(options.seed, options.records, counts):
                bar.update(task, advance=read)
                if time.monotonic() - start > options.minutes * 60:
                    break
        except KeyboardInterrupt:
            code = 130
        except Disagreement as found:
            sys.stderr.write(f"{found}\n")
            code = 1
    _report(counts, options.seed, options.records, time.monotonic() - start)
    return code


def _report(counts: Counts, seed: int, wanted: int, seconds: float) -> None:
    short = "" if counts.records >= wanted else f" (of {wanted:,}, stopped early)"
    lines = [
        f"{counts.records:,} damaged records{short} of {counts.schemas:,} schemas, seed {seed}, "
        f"{seconds:.0f} s",
        f"{counts.good:>12,} read with the same values by both readers",
    ]
    lines += [f"{count:>12,} refused: {name}" for name, count in counts.refused.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
