"""The demo's own bundle is one that may be released."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lightgbm", reason="install the extra train")

from millstream.models.bundle import Bundle
from millstream.models.passport import PASSPORT_FILE, require_passport
from millstream.models.proof import repeat
from millstream.stream import Stream
from ops.demo.loans import HELD_OUT_ROWS, TRAINING_ROWS, write_stream


def test_the_demos_bundle_has_a_passport_that_holds(tmp_path: Path) -> None:
    """Its checks pass again; what lies there is kept, unless it has no passport."""
    stream = Stream.load(write_stream(tmp_path))
    bundle = Bundle.load(stream.bundle_path)
    passport = require_passport(bundle)
    assert passport is not None
    assert all(check.passed for check in repeat(bundle, passport))
    assert passport.evaluation is not None and passport.lineage is not None
    assert passport.evaluation.rows == HELD_OUT_ROWS
    assert passport.lineage.recipe["rows"] == TRAINING_ROWS
    write_stream(tmp_path)
    assert require_passport(Bundle.load(stream.bundle_path)) == passport
    (stream.bundle_path / PASSPORT_FILE).unlink()
    write_stream(tmp_path)
    again = Bundle.load(stream.bundle_path)
    assert require_passport(again) is not None
    assert again.digest == bundle.digest
