"""Golden rows come back from their file to the bit, and a damaged file is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millstream.errors import BundleInvalid
from millstream.models.card import Feature, Input
from millstream.models.golden import GOLDEN_FILE, Golden, plain, read_golden
from tests.millstream.models.graphs import card, identity

CARD = card(
    identity(),
    input=Input(layout="columns"),
    features=(
        Feature(name="n", missing="nan"),
        Feature(name="s", type="category"),
        Feature(name="b", type="boolean"),
    ),
)
NUMBERS = [0.1, -0.0, 5e-324, 1e300, math.nan, math.inf, -math.inf, None, 1.0, 2.0**53 + 2]
TEXTS = ["u", "", None, "nan", "inf", "\u2603", "\x00", '"', "true", "1"]
TRUTHS = [True, False, None] * 3 + [True]


def _golden() -> Golden:
    batch = pa.RecordBatch.from_arrays(
        [pa.array(NUMBERS, pa.float64()), pa.array(TEXTS, pa.string()), pa.array(TRUTHS)],
        names=["n", "s", "b"],
    )
    scores = np.array([[*NUMBERS[:7], math.nan, 1 / 3, 0.0]], np.float64).T
    return Golden(batch, ("ordinary",) * 9 + ("nan",), scores, (None,) * 9 + ("null_feature",))


def test_rows_come_back_to_the_bit(tmp_path: Path) -> None:
    """Signed zeros, denormals, NaN beside null, texts that look like numbers."""
    golden = _golden()
    golden.save(tmp_path)
    again, content = read_golden(tmp_path, CARD)
    assert content == golden.encoded()
    assert again.batch.schema == golden.batch.schema
    for name in ("s", "b"):
        assert again.batch.column(name).to_pylist() == golden.batch.column(name).to_pylist()
    one, two = [
        np.array(g.batch.column("n").fill_null(-1.0)).view(np.int64) for g in (golden, again)
    ]
    assert np.array_equal(one, two)
    assert again.batch.column("n").null_count == 1
    assert np.array_equal(golden.scores.view(np.int64), again.scores.view(np.int64))
    assert (again.kinds, again.refused) == (golden.kinds, golden.refused)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"columns": {}}, "columns are not the card's features"),
        ({"kinds": ["ordinary"] * 9}, "same number of rows"),
        ({"kinds": ["friendly"] * 10}, "rows of kind friendly"),
        ({"scores": [[0.0, 1.0]] * 10}, "same number of rows"),
        ({"scores": [["zero"]] * 10}, "zero"),
        ({"format": 2}, "format"),
        ({"more": 1}, "more"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    """Naming the file."""
    fields = json.loads(_golden().encoded()) | change
    (tmp_path / GOLDEN_FILE).write_text(json.dumps(fields))
    with pytest.raises(BundleInvalid, match=says) as caught:
        read_golden(tmp_path, CARD)
    assert GOLDEN_FILE in caught.value.problem


def test_rows_of_another_kind_are_refused() -> None:
    """Text where the card says number, and a column that is not there."""
    with pytest.raises(BundleInvalid, match="no column 's'"):
        plain(pa.table({"n": [1.0]}), CARD)
    with pytest.raises(BundleInvalid, match="column 'n' is string"):
        plain(pa.table({"n": ["x"], "s": ["x"], "b": [True]}), CARD)


def test_whole_numbers_times_and_codes_become_plain() -> None:
    """Dates are days, dictionaries are their texts."""
    table = pa.table(
        {
            "b": pa.array([True]),
            "s": pa.array(["u"]).dictionary_encode(),
            "n": pa.array([3], pa.date32()),
        }
    )
    made = plain(table, CARD)
    assert made.to_pylist() == [{"n": 3.0, "s": "u", "b": True}]
