"""Slow dependencies make programs wait, not grow: peak memory under a backlog."""

from __future__ import annotations

from ops.faults.memory import peak_mb
from tests.faults.trial import Trial

BACKLOG = 120_000
GROWTH_MB_MAX = 350
"""Above a program's peak with nothing to do. The client's queue of 16 MB as Python objects, a batch
in hand and its predictions stay far below; the backlog in memory, as objects, would not."""


def test_a_scorer_whose_broker_is_slow_does_not_outrun_memory(trial: Trial) -> None:
    """Its line passes 1 MB a second while a backlog waits: what cannot be sent is not fetched."""
    calm = peak_mb(trial.bed.child("scorer-0").pid)
    trial.bed.kafka.slow(0.02, rate=1_000_000)
    trial.publish(BACKLOG)
    trial.tend_for(5)
    child = trial.bed.child("scorer-0")
    assert peak_mb(child.pid) < calm + GROWTH_MB_MAX
    trial.bed.mend()
    trial.settle()
    assert trial.bed.child("scorer-0") is child, "the peak is of one process"
    assert peak_mb(child.pid) < calm + GROWTH_MB_MAX


def test_a_sink_whose_clickhouse_is_away_does_not_outrun_memory(trial: Trial) -> None:
    """The backlog stays in Kafka: partitions are paused while one block waits."""
    child = trial.bed.child("sink")
    calm = peak_mb(child.pid)
    trial.bed.warehouse.cut()
    trial.publish(BACKLOG)
    trial.wait_for("reading pauses", "sink")
    trial.tend_for(6)
    trial.bed.mend()
    trial.audit()
    assert trial.bed.child("sink") is child, "the peak is of one process"
    assert peak_mb(child.pid) < calm + GROWTH_MB_MAX
