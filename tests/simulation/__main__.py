"""Repeat one seed with its trace, or run many: python -m tests.simulation --help."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections import Counter

from tests.simulation.bugs import BUGS
from tests.simulation.run import simulate


def main(argv: list[str] | None = None) -> int:
    """0 where every seed keeps the promise, 1 where one breaks it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Run the engine against in-memory Kafka and ClickHouse, with faults by seed.",
        epilog="example: python -m tests.simulation --seed 17 --verbose",
    )
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print every call and fault")
    parser.add_argument("--plant", choices=sorted(BUGS), help="with this bug in the engine")
    given = parser.parse_args(argv)
    if given.verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
    seeds = (
        [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    )
    plant = f" --plant {given.plant}" if given.plant else ""
    failed, told, began = 0, Counter[str](), time.monotonic()
    with BUGS[given.plant]() if given.plant else contextlib.nullcontext():
        for seed in seeds:
            outcome = simulate(seed)
            told.update(outcome.told)
            if outcome.problems:
                failed += 1
                _say(f"seed {seed}: python -m tests.simulation --seed {seed} --verbose{plant}")
                for problem in outcome.problems:
                    _say(f"    {problem}")
    took_s = time.monotonic() - began
    faults = ", ".join(f"{count} {name}" for name, count in sorted(told.items()))
    _say(f"{len(seeds)} seeds in {took_s:.1f} s ({len(seeds) / took_s * 60:.0f} a minute)")
    _say(f"faults: {faults}; failed: {failed}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
