"""pyruhvro's path around bad rows."""

from __future__ import annotations

import json

from millstream.columnar import make_decoder
from millstream.columnar.batches import HALVED_ROWS_MIN, BatchDecoder
from tests.millstream.columnar.test_decoder import LOAN, covered, loan


def test_a_large_batch_is_halved_around_its_unreadable_rows() -> None:
    """Rows that make pyruhvro give up are found, wherever they stand."""
    decoder = make_decoder(json.dumps(LOAN), engine="pyruhvro")
    assert isinstance(decoder, BatchDecoder)
    count = 20 * HALVED_ROWS_MIN
    values = [loan(row) for row in range(count)]
    bad = [0, 1, HALVED_ROWS_MIN, count // 2, count - 1]
    for row in bad:
        values[row] = values[row][:-1]
    out = decoder.decode(values, skip=5)
    covered(out, count)
    assert [refusal.row for refusal in out.refusals] == bad
