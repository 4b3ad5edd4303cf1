"""Passports: read whole, believed only where they fit the bundle, and required for a release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_FILE, Bundle
from millstream.models.passport import PASSPORT_FILE, Check, read_passport, require_passport
from tests.millstream.models.passports import bundle_of, with_passport


def test_a_bundle_with_a_passport_may_be_released(tmp_path: Path) -> None:
    """And the passport comes back as it was written."""
    bundle, passport = with_passport(tmp_path / "m")
    assert passport.passed
    assert require_passport(Bundle.load(bundle.folder)) == passport


def test_no_passport_no_release(tmp_path: Path) -> None:
    """Unless the policy needs none."""
    bundle = bundle_of(tmp_path / "m")
    assert read_passport(bundle) is None
    assert require_passport(bundle, "none") is None
    with pytest.raises(BundleInvalid, match=r"has no passport\.json") as caught:
        require_passport(bundle)
    assert "millstream bundle make" in caught.value.remedy
    assert "passport = 'none'" in caught.value.remedy


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / PASSPORT_FILE
    fields = json.loads(file.read_text())
    change(fields)
    file.write_text(json.dumps(fields))


def _check(fields: dict[str, Any], of: str, **changes: Any) -> None:
    next(check for check in fields["checks"] if check["name"] == of).update(changes)


FORGED: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("a failure", lambda f: _check(f, "flips", found=3, passed=False), "the check failed: flips"),
    ("a claim", lambda f: _check(f, "flips", found=3), "flips found 3 with limit 0"),
    (
        "a lax limit",
        lambda f: _check(f, "parity_ordinary", found=0.7, limit=0.9),
        "the check has too lax a limit: parity_ordinary",
    ),
    ("a missing check", lambda f: f["checks"].pop(3), "it has no check batch_independence"),
    ("a check twice", lambda f: f["checks"].append(f["checks"][0]), "or one twice"),
    ("an unknown check", lambda f: _check(f, "size", name="beauty"), r"checks\.6\.name"),
    ("another model", lambda f: f.update(digest="sha256:" + "0" * 64), r"another model\.onnx"),
    ("another format", lambda f: f.update(format=2), "format"),
    ("an unknown key", lambda f: f.update(note="trust me"), "note"),
]


@pytest.mark.parametrize(
    ("change", "says"), [forged[1:] for forged in FORGED], ids=[forged[0] for forged in FORGED]
)
def test_a_passport_is_not_believed_beyond_what_it_shows(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    """Failures, verdicts that do not follow, limits that let everything pass, missing checks."""
    bundle, _ = with_passport(tmp_path / "m")
    _edit(bundle.folder, change)
    with pytest.raises(BundleInvalid, match=says) as caught:
        require_passport(bundle)
    assert PASSPORT_FILE in caught.value.problem
    assert caught.value.remedy


def test_a_card_that_was_changed_later_voids_the_passport(tmp_path: Path) -> None:
    """Another threshold decides otherwise, though model.onnx is the same."""
    bundle, _ = with_passport(tmp_path / "m")
    file = bundle.folder / CARD_FILE
    file.write_text(file.read_text().replace("threshold = 0.5", "threshold = 0.1"))
    with pytest.raises(BundleInvalid, match=r"issued for another bundle\.toml"):
        require_passport(Bundle.load(bundle.folder))


def test_a_passport_that_is_no_json_is_named(tmp_path: Path) -> None:
    """Not a stack trace, however deep its brackets."""
    bundle, _ = with_passport(tmp_path / "m")
    for text in ("", "[" * 100_000, "null", "\x00"):
        (bundle.folder / PASSPORT_FILE).write_text(text)
        with pytest.raises(BundleInvalid, match=r"passport\.json: "):
            read_passport(bundle)


@pytest.mark.parametrize("found", [float("nan"), float("inf"), 2.0])
def test_what_is_infinite_or_undefined_fails(found: float) -> None:
    """A comparison with NaN must not let anything pass."""
    assert not Check.of("flips", found, 1.0).passed
