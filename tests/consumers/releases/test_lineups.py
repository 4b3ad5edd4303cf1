"""Models are loaded beside those that answer; what does not load is told, and nothing waits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.releases.lineups import Lineups, releasable
from millstream.errors import BundleInvalid
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderRegistry
from millstream.settings import ScorerSettings
from millstream.stream import Stream
from tests.millstream.releases.made import model, release
from tests.streams import make_loans

WAIT_S = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loans stream, whose registry has version 2; it asks for no passport."""
    made = tmp_path_factory.mktemp("lineups")
    stream = make_loans(made / "loans").stream
    other = make_loans(made / "other", 3, "2").stream
    FolderRegistry(stream.beside("models")).add(other.bundle_path, {})
    return stream.path.parent


@pytest.fixture
def stream(folder: Path, tmp_path: Path) -> Stream:
    """A copy of it, for this test."""
    shutil.copytree(folder, tmp_path / "loans")
    path = tmp_path / "loans" / "stream.toml"
    path.write_text(path.read_text() + '\n[release]\npassport = "none"\n')
    return Stream.load(path)


@pytest.fixture
def lineups(stream: Stream) -> Iterator[Lineups]:
    """Its loader."""
    made = Lineups(stream, ScorerSettings())
    yield made
    made.close()


def second(stream: Stream) -> ModelReference:
    """Version 2."""
    return FolderRegistry(stream.beside("models")).find("loans", "2")


def until(lineups: Lineups, done: Callable[[], bool]) -> list[tuple[int, str]]:
    """Collect until then; the problems, by release."""
    problems: list[tuple[int, str]] = []
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, problems
        problems += [(each.number, why) for each, why in lineups.collect()]
        time.sleep(0.01)
    return problems


def test_a_release_becomes_ready_while_nobody_waits(stream: Stream, lineups: Lineups) -> None:
    """With every role; a session is shared by the releases that have it in the same role."""
    wanted = release(1, champion=second(stream), shadows=())
    lineups.want([wanted])
    assert until(lineups, lambda: 1 in lineups.ready()) == []
    assert lineups.need(wanted).champion.bundle.version == "2"
    again = release(2, champion=second(stream))
    lineups.want([wanted, again])
    until(lineups, lambda: 2 in lineups.ready())
    assert lineups.need(again).champion is lineups.need(wanted).champion


def test_what_no_partition_needs_is_given_back(stream: Stream, lineups: Lineups) -> None:
    """And loaded anew if it is wanted again."""
    wanted = release(1, champion=second(stream))
    before = lineups.need(wanted).champion
    lineups.keep([])
    assert lineups.ready() == set()
    assert lineups.need(wanted).champion is not before


def test_a_model_that_does_not_load_is_told_once(stream: Stream, lineups: Lineups) -> None:
    """With the reason; it is not tried again."""
    broken = release(1, champion=second(stream), shadows=(model(9),))
    lineups.want([broken])
    ((number, why),) = until(lineups, lambda: 1 in lineups.failed())
    assert number == 1 and "loans@9" in why
    lineups.want([broken])
    time.sleep(0.05)
    assert lineups.collect() == [] and 1 not in lineups.ready()


def test_what_is_in_force_answers_without_its_shadow(stream: Stream, lineups: Lineups) -> None:
    """A scorer that starts again cannot have the shadow any more: the champion answers."""
    broken = release(1, champion=second(stream), challenger=model(9), canary_share=0.5)
    lineup = lineups.need(broken)
    assert lineup.challenger is None and lineup.share == 0.0
    with pytest.raises(BundleInvalid, match="loans@7"):
        lineups.need(release(2, champion=model(7)))


def test_no_passport_no_release(stream: Stream) -> None:
    """But the bundle of stream.toml answers already."""
    rules = stream.release.model_copy(update={"passport": "required"})
    strict = stream.model_copy(update={"release": rules})
    with pytest.raises(BundleInvalid, match="passport"):
        releasable(strict, second(stream))
    own = releasable(stream, second(stream))
    assert own.version == "2"
    bundle = make_loans(stream.path.parent.parent / "again").stream.bundle_path
    registry = FolderRegistry(stream.beside("models"))
    first = registry.add(bundle, {})
    assert releasable(strict, first).folder == stream.bundle_path


def test_what_was_given_up_loads_when_it_is_wanted_again(
    stream: Stream, lineups: Lineups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk did not take the model, nobody wanted the release any more, then somebody did."""
    monkeypatch.setattr("consumers.releases.lineups.AGAIN_S", (0.01,))
    wanted = release(1, champion=second(stream))
    cache = stream.beside(stream.release.cache)
    cache.write_text("in the way")
    lineups.want([wanted])
    until_told(lineups)
    lineups.want([])
    time.sleep(0.05)  # it is given up
    cache.unlink()
    lineups.want([wanted])
    until(lineups, lambda: 1 in lineups.ready())
    assert lineups.failed() == set()


def until_told(lineups: Lineups) -> None:
    """Collect until a problem is there."""
    deadline = time.monotonic() + WAIT_S
    while not lineups.collect():
        assert time.monotonic() < deadline
        time.sleep(0.01)
