"""Windows of event time, and fields cut into slices."""

from __future__ import annotations

import numpy as np

from millstream.performance.windows import latency_ms, sliced, starts_of, width_for

MINUTE = 60_000_000


def test_windows_begin_at_whole_multiples() -> None:
    """Before 1970 too."""
    times = np.array([-1, 0, MINUTE - 1, MINUTE])
    assert starts_of(times, MINUTE).tolist() == [-MINUTE, 0, 0, MINUTE]


def test_a_width_makes_at_most_twelve_windows() -> None:
    """Whatever the span; of nothing, of one time and of a century too."""
    for span_s in (0, 1, 59, 600, 86_400, 40_000_000, 3_000_000_000):
        times = np.array([123, 123 + span_s * 1_000_000])
        width = width_for(times)
        assert (starts_of(times, width)[1] - starts_of(times, width)[0]) // width < 12 or (
            span_s > 300_000_000
        )
    assert width_for(np.zeros(0, np.int64)) > 0


def test_latency_is_from_published_to_scored() -> None:
    """Median and 99th percentile in milliseconds."""
    scored = np.arange(101) * 1_000
    assert latency_ms(np.zeros(101, np.int64), scored) == (50.0, 99.0)
    assert latency_ms(scored[:0], scored[:0]) is None


def test_numbers_are_cut_at_edges_or_quartiles() -> None:
    """Few distinct ones stand for themselves; null is a slice."""
    assert sliced([20, 25, 40, None], [25, 40]).tolist() == [
        "< 25", "25 to 40", ">= 40", "(null)",
    ]  # fmt: skip
    assert sliced([1, 2, 1.0, float("nan")]).tolist() == ["1", "2", "1", "(null)"]
    assert set(sliced(list(range(100))).tolist()) == {
        "< 24.75", "24.75 to 49.5", "49.5 to 74.25", ">= 74.25",
    }  # fmt: skip


def test_rare_texts_are_one_slice() -> None:
    """The most frequent eleven stand; truth values are texts."""
    names = [f"c{i}" for i in range(30) for _ in range(30 - i)]
    found = sliced(names).tolist()
    assert len(set(found)) == 12
    assert found[0] == "c0"
    assert found[-1] == "(other)"
    assert sliced([True, False, None]).tolist() == ["True", "False", "(null)"]
    assert sliced([]).tolist() == []
