"""Labelled rows out of files, and where they are said to come from."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millstream.errors import ContractMismatch, SettingsInvalid
from millstream.stream import Stream
from millstream.training.files import Columns, dvc_md5, lineage_of, rows_of_file
from millstream.training.fingerprint import hash_of_rows
from millstream.training.rows import CannotTrain

_CSV = """at,n,city,label,extra
2024-01-01T00:00:03Z,3,Köln,yes,1
2024-01-01T00:00:01Z,1,,no,1
2024-01-01T00:00:02Z,,Bonn,yes,1
2024-01-01T00:00:04Z,4,Bonn,,1
"""


def stream_in(folder: Path, kind: str = "binary") -> Stream:
    """A stream with a number and a category, both of which may be null."""
    (folder / "e.avsc").write_text(
        '{"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}, '
        '{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}, '
        '{"name": "n", "type": ["null", "int"]}, {"name": "city", "type": ["null", "string"]}]}'
    )
    (folder / "stream.toml").write_text(
        'name = "t"\n[event]\nschema = "e.avsc"\nkey = "id"\nid = "id"\ntime = "at"\n'
        f'[features]\norder = ["n", "city"]\ncategories = ["city"]\n[label]\nkind = "{kind}"\n'
        '[model]\nbundle = "b"\n'
    )
    return Stream.load(folder / "stream.toml")


def test_rows_come_in_order_of_time_with_the_nulls_that_training_saw(tmp_path: Path) -> None:
    """An empty cell of a nullable field is null; rows without a label are left out."""
    stream = stream_in(tmp_path)
    file = tmp_path / "x.csv.gz"
    file.write_bytes(gzip.compress(_CSV.encode()))
    rows = rows_of_file(stream, file)
    assert rows.labels.tolist() == ["no", "yes", "yes"]
    assert rows.columns["n"].to_pylist() == [1, None, 3]
    assert rows.columns["city"].to_pylist() == [None, "Bonn", "Köln"]
    assert np.diff(rows.times_us).tolist() == [1_000_000, 1_000_000]
    assert rows.ids == ["row 1", "row 2", "row 0"]
    number, city = rows.task.features
    assert (number.missing, city.missing_value) == ("nan", "(null)")
    assert (rows.task.labels, rows.task.positive) == (("no", "yes"), "yes")


def test_the_format_of_a_file_does_not_change_its_rows(tmp_path: Path) -> None:
    """The same values have the same hash; one other value has another."""
    stream = stream_in(tmp_path)
    lines = [
        '{"at": "2024-01-01T00:00:01Z", "n": 1, "city": null, "label": "no"}',
        '{"at": "2024-01-01T00:00:02Z", "n": null, "city": "Bonn", "label": "yes"}',
        '{"at": "2024-01-01T00:00:03Z", "n": 3.0, "city": "Köln", "label": "yes"}',
    ]
    (tmp_path / "x.csv").write_text(_CSV)
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    (tmp_path / "y.jsonl").write_text("\n".join(lines).replace("Bonn", "Bon "))
    one, two, three = (
        hash_of_rows(rows_of_file(stream, tmp_path / n)) for n in ("x.csv", "x.jsonl", "y.jsonl")
    )
    assert one == two != three


def test_labels_are_the_same_texts_out_of_every_format(tmp_path: Path) -> None:
    """As outcomes have them; what is not a number, and what a JSON object lacks, is no label."""
    stream = stream_in(tmp_path)
    for values, wanted in (([1.0, 0.0], ["1", "0"]), ([True, False], ["true", "false"])):
        lines = [{"at": i, "n": i, "city": "a", "label": v} for i, v in enumerate(values)]
        lines += [{"at": 5, "n": 5, "city": "a"}]
        (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
        assert rows_of_file(stream, tmp_path / "x.jsonl").labels.tolist() == wanted
        columns = {name: [line.get(name) for line in lines] for name in lines[0]}
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        assert rows_of_file(stream, tmp_path / "x.parquet").labels.tolist() == wanted
    columns["label"] = [1.0, 0.0, float("nan")]
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert rows_of_file(stream, tmp_path / "x.parquet").labels.tolist() == ["1", "0"]


def test_without_a_time_the_files_order_counts(tmp_path: Path) -> None:
    """Or another column's."""
    stream = stream_in(tmp_path)
    file = tmp_path / "x.csv"
    file.write_text("n,city,truth,when\n1,a,no,9\n2,b,yes,8\n")
    rows = rows_of_file(stream, file, Columns("truth"))
    assert rows.times_us.tolist() == [0, 1]
    rows = rows_of_file(stream, file, Columns("truth", "when"))
    assert (rows.times_us.tolist(), rows.labels.tolist()) == ([8, 9], ["yes", "no"])


def test_values_are_numbers_in_a_regression(tmp_path: Path) -> None:
    """A text among them is named."""
    stream = stream_in(tmp_path, "regression")
    file = tmp_path / "x.csv"
    file.write_text("n,city,label\n1,a,0.5\n2,b,\n3,c,nan\n4,d,-2\n")
    assert rows_of_file(stream, file).values.tolist() == [0.5, -2.0]
    file.write_text("n,city,label\n1,a,high\n")
    with pytest.raises(CannotTrain, match="column label"):
        rows_of_file(stream, file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("n,city\n1,a\n", "has no column label"),
        ("n,town,label\n1,a,yes\n", "has no column city"),
        ("n,city,label\nmany,a,yes\n", "row 0, column n"),
        ("n,city,label\n1,a,yes\n1,a,b,c,d\n", "row 1"),
        ("n,city,label\n1,a,yes\n2,a,yes\n", "binary"),
        ("n,city,label\n", "rows"),
    ],
)
def test_a_file_that_gives_no_rows_says_why(text: str, problem: str, tmp_path: Path) -> None:
    """The column, the row, or what the labels are."""
    stream = stream_in(tmp_path)
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises((CannotTrain, ContractMismatch), match=problem):
        rows_of_file(stream, tmp_path / "x.csv")


def test_a_missing_file_is_the_operators(tmp_path: Path) -> None:
    """Named as it was given."""
    with pytest.raises(SettingsInvalid, match="is no file"):
        rows_of_file(stream_in(tmp_path), tmp_path / "none.csv")


def test_dvcs_md5_is_a_tracked_files_lineage(tmp_path: Path) -> None:
    """From FILE.dvc or dvc.lock; a file that is not the tracked one is refused, one that is not
    here can be pulled."""
    file = tmp_path / "data" / "x.csv"
    file.parent.mkdir()
    file.write_text(_CSV)
    md5 = hashlib.md5(_CSV.encode(), usedforsecurity=False).hexdigest()
    (plain,) = {lineage_of(file, 3, tmp_path).hash}
    assert plain == "sha256:" + hashlib.sha256(_CSV.encode()).hexdigest()
    lock = tmp_path / "dvc.lock"
    lock.write_text(
        "schema: '2.0'\nstages:\n  use:\n    cmd: use\n    deps:\n    - path: data/x.csv\n"
        "      hash: md5\n      md5: " + "1" * 32 + "\n  make:\n    cmd: make\n    outs:\n"
        "    - path: data/y.csv\n      hash: md5\n      md5: " + "0" * 32 + "\n"
        f"    - path: data/x.csv\n      hash: md5\n      md5: {md5}\n      size: 9\n"
        "  last:\n    cmd: use\n"
    )
    assert dvc_md5(file) == (md5, lock)
    beside = file.with_name("x.csv.dvc")
    beside.write_text(f"outs:\n- md5: {md5}\n  size: 9\n  hash: md5\n  path: x.csv\n")
    told = lineage_of(file, 3, tmp_path)
    assert (told.hash, told.dvc, told.path) == (f"md5:{md5}", "data/x.csv.dvc", "data/x.csv")
    file.write_text(_CSV + "\n")
    with pytest.raises(CannotTrain, match=r"is not the file that .*x\.csv\.dvc names"):
        lineage_of(file, 3, tmp_path)
    file.unlink()
    with pytest.raises(CannotTrain, match="dvc pull"):
        lineage_of(file, 3, tmp_path)
