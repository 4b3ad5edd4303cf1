"""Whether stream.toml and its bundle fit: every difference is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from millstream.errors import BundleInvalid, ContractMismatch
from millstream.fit import misfits, require_fit
from millstream.models.bundle import Bundle
from millstream.models.signing import make_keys, sign
from millstream.stream import Stream
from tests.streams import Loans, bundle_of, make_loans


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Loans:
    """The example stream with a model."""
    return make_loans(tmp_path_factory.mktemp("loans"))


Change = tuple[str, str, str]
"""File, text in it, its replacement."""
_ORDER: Change = ("stream.toml", '"salary", "commission"', '"commission", "salary"')
_LESS: Change = ("stream.toml", ', "loan"]', "]")
_KIND: Change = ("stream.toml", 'kind = "binary"', 'kind = "multiclass"')
_CATEGORY: Change = ("stream.toml", "categories = []", 'categories = ["car"]')
_TEXT: Change = ("event.v1.avsc", '"car", "type": "int"', '"car", "type": "string"')
_RENAMED: Change = ("event.v1.avsc", '"name": "car"', '"name": "auto"')
_WITHOUT_CAR: Change = ("stream.toml", '"car", ', "")


def _changed(loans: Loans, folder: Path, *changes: Change) -> tuple[Stream, Bundle]:
    """The example with its files changed, and its bundle as it was."""
    for name in ("stream.toml", "event.v1.avsc"):
        shutil.copy(loans.stream.path.parent / name, folder / name)
    for file, old, new in changes:
        text = (folder / file).read_text("utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new))
    return Stream.load(folder / "stream.toml"), bundle_of(loans)


def test_the_example_fits_its_bundle(loans: Loans) -> None:
    """No difference, nothing raised."""
    assert misfits(loans.stream, bundle_of(loans)) == []
    require_fit(loans.stream, bundle_of(loans))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([_ORDER], "features.order of "),
        ([_LESS], "features.order of "),
        ([_KIND], "label.kind of "),
        ([_CATEGORY], "features.categories of "),
        ([_TEXT, _CATEGORY], "cannot become a number"),
        ([_RENAMED, _WITHOUT_CAR], "'car' of loans 1 is no field"),
    ],
    ids=["other order", "one less", "other kind", "a category", "text", "gone"],
)
def test_a_difference_is_named_with_its_remedy(
    loans: Loans, tmp_path: Path, changes: list[Change], said: str
) -> None:
    """Before the first event is read."""
    stream, bundle = _changed(loans, tmp_path, *changes)
    found = misfits(stream, bundle)
    assert any(said in problem for problem, _ in found), found
    assert all(remedy for _, remedy in found)
    with pytest.raises(ContractMismatch) as caught:
        require_fit(stream, bundle)
    assert (caught.value.problem, caught.value.remedy) == found[0]
    assert "\n" not in str(caught.value)


def test_all_differences_are_found_at_once(loans: Loans, tmp_path: Path) -> None:
    """`millstream check` shows them together."""
    stream, bundle = _changed(loans, tmp_path, _KIND, _LESS)
    assert len(misfits(stream, bundle)) == 2


def test_a_stream_that_asks_for_a_signature_takes_no_other_bundle(
    loans: Loans, tmp_path: Path
) -> None:
    """Nobody's, then somebody else's, then the right one's."""
    shutil.copytree(loans.stream.path.parent, tmp_path / "loans")
    file = tmp_path / "loans" / "stream.toml"
    file.write_text(file.read_text("utf-8") + '\n[release]\nsigned_by = "ours.public.pem"\n')
    ours, _ = make_keys(file.parent, "ours")
    theirs, _ = make_keys(file.parent, "theirs")
    stream = Stream.load(file)
    bundle = Bundle.load(stream.bundle_path)
    with pytest.raises(BundleInvalid, match="is not signed"):
        require_fit(stream, bundle)
    sign(bundle, theirs)
    with pytest.raises(BundleInvalid, match="is by the key ed25519:"):
        require_fit(stream, bundle)
    sign(bundle, ours)
    require_fit(stream, bundle)
