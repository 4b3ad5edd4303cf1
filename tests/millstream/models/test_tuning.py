"""A curve belongs to one model and one machine; anything else is ignored, and said."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millstream.models.bundle import Bundle, write_bundle
from millstream.models.tuning import (
    TUNING_FILE,
    Choice,
    Machine,
    Point,
    Tuning,
    Variant,
    choice_for,
    read_tuning,
    this_machine,
    write_tuning,
)
from tests.millstream.models.graphs import card, identity

HERE = Machine(processor="made up", cores=2, onnxruntime="1")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle on disk."""
    proto = identity()
    return write_bundle(tmp_path / "bundle", proto.SerializeToString(), card(proto))


def curve(bundle: Bundle, machine: Machine = HERE) -> Tuning:
    """1,000 rows/s alone, more in larger batches; two threads gain little."""
    rates = {(1, 1): 1e3, (1, 100): 1e5, (1, 1_000): 2e5, (2, 1_000): 2.05e5, (1, 8_000): 3e5}
    return Tuning(
        model_digest=bundle.digest,
        machine=machine,
        measured=datetime(2026, 1, 1, tzinfo=UTC),
        variants=tuple(
            Variant(engine="onnxruntime", threads=n, difference=0, flips=0, checked=10)
            for n in (1, 2)
        ),
        points=tuple(
            Point(engine="onnxruntime", threads=threads, rows=rows, rows_per_s=rate)
            for (threads, rows), rate in rates.items()
        ),
    )


def chosen(threads: int, rows: int) -> Choice:
    """A choice of ONNX Runtime."""
    return Choice(engine="onnxruntime", threads=threads, rows=rows)


def test_the_latency_budget_bounds_the_batch(bundle: Bundle) -> None:
    """The fastest within a quarter of the budget; fewer threads if they are nearly as good."""
    tuning = curve(bundle)
    assert tuning.choose(1_000) == chosen(1, 8_000)  # 27 ms of 250
    assert tuning.choose(50) == chosen(1, 1_000)  # 5 ms of 12.5; two threads gain 2.5 %
    assert tuning.choose(50, threads=2) == chosen(2, 1_000)
    assert tuning.choose(10) == chosen(1, 100)  # 1 ms of 2.5


def test_what_gives_other_bits_is_not_chosen(bundle: Bundle) -> None:
    """A difference of a last bit is shown, and used only if the operator asks for its threads."""
    raw = curve(bundle).model_dump()
    raw["variants"][1]["difference"] = 3e-16
    raw["points"][3]["rows_per_s"] = 1e9  # two threads
    tuning = Tuning.model_validate(raw)
    assert tuning.choose(50) == chosen(1, 1_000)
    assert tuning.choose(50, threads=2) == chosen(2, 1_000)


def test_without_a_quick_point_the_quickest_batch_is_taken(bundle: Bundle) -> None:
    """A budget that nothing keeps: the batch that ends first."""
    assert curve(bundle).choose(1) == chosen(1, 1)


def test_a_curve_is_written_and_read(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """What was written comes back, with no word said; without a file there are defaults."""
    assert read_tuning(bundle, HERE) is None
    write_tuning(bundle, curve(bundle))
    assert read_tuning(bundle, HERE) == curve(bundle)
    assert not caplog.records


def test_a_curve_of_this_machine_is_used(bundle: Bundle) -> None:
    """choice_for reads the bundle's curve; without one, one thread, or the operator's number."""
    assert choice_for(bundle, 50) == Choice()
    assert choice_for(bundle, 50, threads=3) == Choice(threads=3)
    write_tuning(bundle, curve(bundle, this_machine()))
    assert choice_for(bundle, 50) == chosen(1, 1_000)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", 2, "version"),
        ("points", [], "points"),
        ("surprise", 1, "surprise"),
        ("model_digest", "sha256:" + "0" * 64, "another model"),
        ("machine", {"processor": "x", "cores": 64, "onnxruntime": "9"}, "x, 64 cores"),
    ],
)
def test_another_curve_is_ignored_with_a_warning(
    bundle: Bundle, caplog: pytest.LogCaptureFixture, key: str, value: object, words: str
) -> None:
    """One warning says why, and what to run."""
    write_tuning(bundle, curve(bundle))
    file = bundle.folder / TUNING_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with caplog.at_level(logging.WARNING):
        assert read_tuning(bundle, HERE) is None
    (record,) = caplog.records
    assert words in record.getMessage()
    assert "millstream bundle tune" in record.getMessage()


def test_a_damaged_file_is_ignored(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no JSON do not stop a scorer."""
    (bundle.folder / TUNING_FILE).write_bytes(b"\x00{")
    assert read_tuning(bundle, HERE) is None
    assert len(caplog.records) == 1


def test_a_point_without_a_comparison_is_refused(bundle: Bundle) -> None:
    """A curve whose scores nobody compared is not valid."""
    raw = curve(bundle).model_dump()
    raw["variants"] = raw["variants"][:1]
    with pytest.raises(ValueError, match="not compared"):
        Tuning.model_validate(raw)
