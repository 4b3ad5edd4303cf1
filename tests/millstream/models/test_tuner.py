"""The tuner measures what it compared, and compares before it measures."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

from onnx import helper

from millstream.models.tuner import Effort, tune
from millstream.models.tuning import Machine, Point, Variant
from tests.millstream.models.graphs import DOUBLE, bundle, identity, model, value
from tests.millstream.models.test_compiled import Grown, operator_5

HERE = Machine(processor="made up", cores=2, onnxruntime="1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BRIEF = Effort(seconds=0.0001, batches=(1, 8), threads=(1, 2))


class Seed:
    """Draws always this number."""

    def __call__(self, _: object) -> int:
        return 6


def test_every_variant_is_compared_and_measured() -> None:
    """Trees: both engines by threads and batches; the clock is the one given."""
    grown = Grown(Seed(), ("LEQ",), 3, False)
    node = operator_5(grown, DOUBLE, 1, False)
    proto = model([node], [value("x", DOUBLE, "n", 4)], [value("scores", DOUBLE, "n", 1)])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 5))
    ticks = count()
    told: list[Point | Variant] = []
    trees = bundle(proto, ("a", "b", "c", "d"))
    made = tune(trees, HERE, lambda: float(next(ticks)), NOW, BRIEF, told.append)
    wanted = [(e, n) for e in ("onnxruntime", "compiled") for n in (1, 2)]
    assert [(v.engine, v.threads) for v in made.variants] == wanted
    assert all(v.difference == 0 and v.flips == 0 and v.checked > 2_000 for v in made.variants)
    assert [(p.engine, p.threads, p.rows) for p in made.points] == [
        (engine, threads, rows) for engine, threads in wanted for rows in (1, 8)
    ]
    assert {p.rows_per_s for p in made.points} == {1.0, 8.0}  # one tick for each run
    assert len(told) == 12
    assert (made.machine, made.measured, made.note) == (HERE, NOW, None)


def test_two_threads_are_compared_with_one() -> None:
    """ONNX Runtime's own two threads add in another order; compiled trees never do."""
    grown = Grown(Seed(), ("LEQ",), 100, False)
    node = operator_5(grown, DOUBLE, 1, False)
    proto = model([node], [value("x", DOUBLE, "n", 4)], [value("scores", DOUBLE, "n", 1)])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 5))
    made = tune(bundle(proto, ("a", "b", "c", "d")), HERE, count().__next__, NOW, BRIEF)
    assert made.note is None
    off = {(v.engine, v.threads): v.difference for v in made.variants}
    assert off["compiled", 2] == off["compiled", 1] == off["onnxruntime", 1] == 0


def test_a_model_without_trees_is_measured_by_onnxruntime() -> None:
    """No compiled points, and no note: there is nothing to compile."""
    ticks = count()
    made = tune(bundle(identity()), HERE, lambda: float(next(ticks)), NOW, BRIEF)
    assert {point.engine for point in made.points} == {"onnxruntime"}
    assert made.note is None
