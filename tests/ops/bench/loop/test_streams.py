"""Streams by name."""

from __future__ import annotations

import gzip
from pathlib import Path

from ops.bench.loop.streams import load, names


def test_what_the_data_folder_lacks_is_generated_where_it_can_be(tmp_path: Path) -> None:
    """And not named where it cannot."""
    assert names(None) == ["loans", "sine", "mixed", "sea", "hyperplane"]
    (tmp_path / "elec2").mkdir()
    (tmp_path / "elec2" / "elec2.csv.gz").touch()
    assert names(tmp_path)[0] == "elec2"
    assert (len(load("sine", None)), load("sine", None).changes) == (16_000, (4_000, 8_000, 12_000))


def test_hidden_columns_are_no_features(tmp_path: Path) -> None:
    """Texts become codes, labels too."""
    folder = tmp_path / "nsl_kdd"
    folder.mkdir()
    (folder / "nsl_kdd.csv").write_text("service,attack,label\nhttp,none,0\nftp,worm,1\n")
    with gzip.open(folder / "nsl_kdd.csv.gz", "wt") as file:
        file.write((folder / "nsl_kdd.csv").read_text())
    stream = load("nsl_kdd", tmp_path)
    assert (stream.names, stream.features.tolist()) == (("service",), [[1.0], [0.0]])
    assert stream.labels.tolist() == [0, 1]
