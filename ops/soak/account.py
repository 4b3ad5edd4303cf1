"""What a soak comes to: `millstream verify`'s word, and what was published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from millstream.errors import DependencyUnavailable

VERIFY_S_MAX = 1_800
GAPS = {"lost", "row_missing"}
DOUBLES = {"doubled", "row_doubled"}


@dataclass(slots=True)
class Account:
    """published, poisoned: of the load. report: verify's, as JSON. peaks_mb: by program."""

    seed: int
    seconds: float
    rate: float
    published: int
    poisoned: int
    report: Mapping[str, Any]
    faults: Mapping[str, int]
    kills: Mapping[str, int]
    peaks_mb: Mapping[str, float]
    starts: Mapping[str, int]

    @property
    def gaps(self) -> int:
        """Offsets without an answer, or without a row."""
        return self._offsets(GAPS)

    @property
    def duplicates(self) -> int:
        """Offsets with more than one answer or row."""
        return self._offsets(DOUBLES)

    def _offsets(self, kinds: set[str]) -> int:
        return sum(f["total"] for f in self.report["findings"] if f["kind"] in kinds)

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        tables: dict[str, int] = {}
        for line in self.report["partitions"]:
            for table, count in line["rows"].items():
                tables[table] = tables.get(table, 0) + count
        return tables

    @property
    def problems(self) -> list[str]:
        """Why the soak failed; [] where it did not."""
        report = self.report
        found = [str(finding["text"]) for finding in report["findings"]]
        rows = self.rows
        for what, wanted, there in (
            ("events in Kafka", self.published, report["events"]),
            ("dead letters", self.poisoned, report["dead_letters"]),
            ("predictions", self.published - self.poisoned, report["predictions"]),
            ("rows of events", self.published, rows.get("events", 0)),
            ("rows of predictions", self.published - self.poisoned, rows.get("predictions", 0)),
            ("rows of dead letters", self.poisoned, rows.get("dead_letters", 0)),
        ):
            if wanted != there:
                found.append(f"{what}: {there:,}, not {wanted:,}")
        return found

    def table(self) -> Table:
        """For people."""
        table = Table(title=f"soak, seed {self.seed}", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        report, rows = self.report, self.rows
        lines: list[tuple[str, str]] = [
            ("seconds of load", f"{self.seconds:,.0f}"),
            ("events a second, asked / reached", self._rates()),
            *((name, f"{count}") for name, count in self.faults.items()),
            ("killed", ", ".join(f"{name} {n}" for name, n in self.kills.items())),
            ("starts", ", ".join(f"{name} {n}" for name, n in self.starts.items())),
            ("events in", f"{report['events']:,}"),
            ("predictions", f"{report['predictions']:,}"),
            ("dead letters (published unreadable)", f"{report['dead_letters']:,}"),
            *((f"rows of {name}", f"{count:,}") for name, count in rows.items()),
            ("gaps", f"{self.gaps:,}"),
            ("duplicates", f"{self.duplicates:,}"),
            ("scored again and compared", f"{report['rescored']:,}"),
            ("verify", f"{report['verdict']}, {report['seconds']:.0f} s"),
            *((f"peak memory of {name}", f"{mb:,.0f} MB") for name, mb in self.peaks_mb.items()),
        ]
        for line in lines:
            table.add_row(*line)
        return table

    def _rates(self) -> str:
        return f"{self.rate:,.0f} / {self.published / max(self.seconds, 1e-9):,.0f}"


def verify(
    stream: Path, kafka: str, registry: str, warehouse: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """`millstream verify`'s report. Raises DependencyUnavailable where it gave none."""
    argv = [sys.executable, "-m", "millstream", "verify", str(stream), "--json", "--wait", "30"]
    argv += ["--kafka", kafka, "--registry", registry, "--warehouse", warehouse]
    run = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=VERIFY_S_MAX,
        check=False,
        env=dict(environment),
    )
    try:
        report: dict[str, Any] = json.loads(run.stdout)
    except ValueError:
        said = (run.stderr or run.stdout).strip()[-500:]
        raise DependencyUnavailable("millstream verify", f"gave no report: {said}") from None
    return report
