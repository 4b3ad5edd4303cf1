"""One bed for all tests of this folder: broker, registry, ClickHouse, a scorer and a sink."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millstream.stream import Stream
from ops.faults.bed import Bed
from tests.faults.trial import Trial
from tests.streams import make_loans

STREAM = "faults"
DISK_MB = 400
SMALL = {
    "MILLSTREAM_SCORER_TRANSACTION_EVENTS_MAX": "500",
    "MILLSTREAM_SCORER_TRANSACTION_TIMEOUT_MS": "9000",
    "MILLSTREAM_SCORER_CALL_S_MAX": "16",
    "MILLSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
    "MILLSTREAM_SINK_BLOCK_ROWS_MAX": "2000",
    "MILLSTREAM_SINK_BLOCK_AGE_MS_MAX": "100",
    "MILLSTREAM_WAREHOUSE_TIMEOUT_S": "4",
}
"""Bounds so low that a fault of seconds passes them as one of minutes passes the defaults."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here kills or stops real processes."""
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.crash)


@pytest.fixture(scope="package")
def whole_trial(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """The bed, up once; `trial` is what tests use."""
    folder = tmp_path_factory.mktemp("faults")
    make_loans(folder / STREAM)
    toml = folder / STREAM / "stream.toml"
    toml.write_text(toml.read_text().replace('name = "loans"', f'name = "{STREAM}"'))
    with (
        small_disk(folder / "clickhouse"),
        Bed(Stream.load(toml), folder, environment=SMALL) as bed,
        Trial.on(bed) as made,
    ):
        made.publish(200)  # what has been answered shows that every program has its partitions
        made.settle()
        yield made


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of DISK_MB there, where we may mount one; else an ordinary folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and _succeeds(mount)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def trial(whole_trial: Trial) -> Iterator[Trial]:
    """Everything runs, nothing fails, all that was published is answered; mended at the end."""
    whole_trial.begin()
    yield whole_trial
    whole_trial.bed.mend()


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
