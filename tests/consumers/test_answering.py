"""What a program scores by, as stream.toml and the bundle's curve declare it."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.answering import answering, open_session
from millstream.errors import OperatorNeeded
from millstream.models.bundle import Bundle
from millstream.models.cache import CachedSession
from millstream.models.overload import LadderSession
from millstream.models.session import Session
from millstream.models.tuning import Point, Tuning, Variant, this_machine, write_tuning
from millstream.settings import ScorerSettings
from millstream.stream import Stream
from tests.streams import applications, make_loans


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example stream with a model; its stream.toml."""
    return make_loans(tmp_path_factory.mktemp("loans") / "loans").stream.path


def declared(shipped: Path, folder: Path, more: str) -> Stream:
    """A copy of it that says more."""
    shutil.copytree(shipped.parent, folder / "loans")
    path = folder / "loans" / "stream.toml"
    path.write_text(path.read_text("utf-8") + more, "utf-8")
    return Stream.load(path)


def test_without_tables_the_model_answers(shipped: Path) -> None:
    """No cache, no ladder."""
    stream = Stream.load(shipped)
    session = answering(stream, Bundle.load(stream.bundle_path), ScorerSettings())
    assert isinstance(session, Session)
    session.close()


def test_cache_and_ladder_are_put_around_the_model(shipped: Path, tmp_path: Path) -> None:
    """As [serving.cache] and [serving.overload] say; the first step is the whole model."""
    more = """
[serving.cache]
[serving.overload]
cheaper = "bundle"
cached = true
abstain = true
"""
    stream = declared(shipped, tmp_path, more)
    session = answering(stream, Bundle.load(stream.bundle_path), ScorerSettings())
    assert isinstance(session, LadderSession)
    rows = applications(3)
    assert session.score(rows).answered_by == "full"
    assert session.score(rows).answered_by == "cached"
    for now in range(0, 3_000_000, 500_000):
        session.observe(now, 251_000)
    assert list(map(str, session.score(rows).answered_by)) == ["abstained"] * 3
    session.close()


def test_a_cache_alone(shipped: Path, tmp_path: Path) -> None:
    """Without a ladder."""
    stream = declared(shipped, tmp_path, "\n[serving.cache]\nbytes_max = 65536\n")
    session = answering(stream, Bundle.load(stream.bundle_path), ScorerSettings())
    assert isinstance(session, CachedSession)
    session.close()


def test_a_cheaper_bundle_that_is_not_there_is_named(shipped: Path, tmp_path: Path) -> None:
    """Before anything is read."""
    stream = declared(shipped, tmp_path, "\n[serving.overload]\ncheaper = 'nowhere'\n")
    with pytest.raises(OperatorNeeded, match="nowhere"):
        answering(stream, Bundle.load(stream.bundle_path), ScorerSettings())


def test_the_curve_says_how_the_model_runs(
    shipped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Engine and rows of a piece come from the bundle's tuning.json."""
    stream = declared(shipped, tmp_path, "")
    bundle = Bundle.load(stream.bundle_path)
    point = Point(engine="onnxruntime", threads=1, rows=48, rows_per_s=1e6)
    same = Variant(engine="onnxruntime", threads=1, difference=0, flips=0, checked=1)
    curve = Tuning(
        model_digest=bundle.digest,
        machine=this_machine(),
        measured=datetime(2026, 1, 1, tzinfo=UTC),
        variants=(same,),
        points=(point,),
    )
    write_tuning(bundle, curve)
    with caplog.at_level("INFO", "consumers.answering"):
        session = open_session(stream, bundle, ScorerSettings())
    session.close()
    assert "runs by onnxruntime, 1 threads, 48 rows at a time" in caplog.text
