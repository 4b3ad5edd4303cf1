"""In which order test files run: the longest first, or the last one runs alone for minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

LONGEST: Final = (
    "tests/ops/test_drift_story.py",
    "tests/crash/test_retrainer.py",
    "tests/broker/test_verify.py",
    "tests/crash/test_releases.py",
    "tests/broker/test_probation.py",
    "tests/broker/test_letters.py",
    "tests/simulation/test_simulation.py",
    "tests/crash/test_join.py",
    "tests/crash/test_kills.py",
    "tests/consumers/retraining/test_program.py",
    "tests/ops/soak/test_run.py",
    "tests/consumers/alerts/test_alert.py",
    "tests/ops/bench/loop/test_passage.py",
    "tests/crash/test_faust_join.py",
    "tests/consumers/test_warehouse_views.py",
    "tests/ops/warehouse/test_functions.py",
    "tests/consumers/releases/test_probation.py",
    "tests/broker/test_evolution.py",
    "tests/contract/test_model_registries.py",
    "tests/crash/test_faust_watch.py",
    "tests/crash/test_watch.py",
    "tests/broker/test_elec2.py",
    "tests/millstream/cli/test_bundle.py",
    "tests/browser/test_console.py",
    "tests/consumers/test_warehouse.py",
    "tests/crash/test_two_sinks.py",
    "tests/broker/test_repair.py",
    "tests/ops/test_story.py",
    "tests/consumers/models/test_artifacts.py",
    "tests/ops/kafka/test_broker.py",
    "tests/consumers/test_judge.py",
    "tests/contract/test_kafka.py",
    "tests/ops/warehouse/test_app.py",
    "tests/millstream/cli/test_operator_errors.py",
    "tests/consumers/sql/test_analyst.py",
    "tests/millstream/judging/test_null.py",
    "tests/consumers/test_loop.py",
    "tests/broker/test_producers.py",
    "tests/simulation/test_bugs.py",
    "tests/ops/prometheus/test_rules.py",
    "tests/ops/bench/warehouse/test_generate.py",
    "tests/examples/test_dvc.py",
    "tests/consumers/models/test_mlflow_registry.py",
    "tests/test_house.py",
    "tests/consumers/test_join.py",
    "tests/millstream/columnar/test_decoder.py",
    "tests/ops/test_demo.py",
    "tests/broker/test_poison.py",
)
"""Files of more than 15 s, by `pytest --durations`; another order is only slower."""

_RANKS: Final = {file: rank for rank, file in enumerate(LONGEST)}


def longest_first(items: Iterable[T], file_of: Callable[[T], str]) -> list[T]:
    """The items of LONGEST's files in its order, then the others; within a file as they were."""
    return sorted(items, key=lambda item: _RANKS.get(file_of(item), len(LONGEST)))
