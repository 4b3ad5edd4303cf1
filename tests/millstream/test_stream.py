"""stream.toml: what is accepted, and one line for everything that is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from millstream.errors import StreamInvalid
from millstream.stream import Stream
from tests.streams import LOANS

_FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string"},
    {"name": "key", "type": "long"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "maybe_at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {"name": "maybe_id", "type": ["null", "string"]},
    {"name": "amount", "type": "double"},
    {"name": "count", "type": ["null", "long"]},
    {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "many", "type": {"type": "array", "items": "int"}},
]
_TOML = """\
name = "shop"
[event]
schema = "event.avsc"
key = "key"
id = "id"
time = "at"
[features]
order = ["amount", "count", "colour"]
categories = ["colour"]
[label]
kind = "binary"
[model]
bundle = "bundle"
"""


def _write(folder: Path, text: str = _TOML, fields: list[dict[str, Any]] | None = None) -> Path:
    schema = {"type": "record", "name": "E", "fields": _FIELDS if fields is None else fields}
    (folder / "event.avsc").write_text(json.dumps(schema, indent=2))
    (folder / "stream.toml").write_text(text)
    return folder / "stream.toml"


def _refused(folder: Path, old: str, new: str) -> StreamInvalid:
    text = _TOML.replace(old, new)
    assert text != _TOML
    with pytest.raises(StreamInvalid) as caught:
        Stream.load(_write(folder, text))
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    return caught.value


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    """Everything else has a default."""
    stream = Stream.load(_write(tmp_path))
    assert stream.serving.partitions == 4
    assert stream.serving.guarantee == "exactly_once"
    assert stream.bundle_path == tmp_path / "bundle"
    assert list(stream.schema_of_event.fields)[:2] == ["id", "key"]


def test_the_shipped_example_loads() -> None:
    """examples/loans is a stream."""
    assert Stream.load(LOANS / "stream.toml").name == "loans"


def test_topics_are_named_after_the_stream(tmp_path: Path) -> None:
    """By the table of topics."""
    stream = Stream.load(_write(tmp_path))
    assert stream.topic("events") == "shop.events"
    assert stream.topic("dead_letters") == "shop.dead-letters"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "key"', 'kee = "key"', r"unknown key event\.kee \(did you mean key\?\)"),
        ('schema = "event.avsc"', 'shema = "e"', r"event\.shema \(did you mean schema\?\)"),
        ("[label]", "[labels]", r"unknown key labels \(did you mean label\?\)"),
        ('time = "at"', "", r"event\.time is missing"),
        ('name = "shop"\n', "", "name is missing"),
        ('name = "shop"', 'name = "Shop-1"', "name: "),
        ('name = "shop"', 'name = "system"', "database of ClickHouse's own"),
        ('name = "shop"', "name = 7", "name: "),
        ('kind = "binary"', 'kind = "binry"', r"label\.kind: .*'binary'"),
        ('kind = "binary"', 'kind = "binary"\noutcome_wait_s = 0', r"label\.outcome_wait_s: "),
        ("[label]", "[serving]\npartitions = 0\n[label]", r"serving\.partitions: "),
        ("[label]", "[serving.overload]\n[label]", "declare a step"),
        ("[label]", "[serving.overload]\ncached = true\n[label]", "needs .serving.cache."),
        ("[label]", "[serving.cache]\nbytes_max = 1\n[label]", r"serving\.cache\.bytes_max"),
        ("[label]", '[serving]\nguarantee = "twice"\n[label]', r"serving\.guarantee: "),
        ('time = "at"', 'time = "at"\nbytes_max = 9000000', r"event\.bytes_max: "),
        ('"amount", ', '"amount", "amount", ', "order names amount twice"),
        ('["colour"]\n[', '["color"]\n[', "categories names color, which order does not"),
        ('order = ["amount", "count", "colour"]', "order = []", r"features\.order: "),
        ("[label]", "[fairness]\nedges = { colour = [1.0] }\n[label]", "which groups does not"),
        (
            "[label]",
            '[fairness]\ngroups = ["count"]\nedges = { count = [2, 1] }\n[label]',
            "edges of count do not ascend",
        ),
        ("[event]", "[event", "is not TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With the nearest key that is known, or what would be right."""
    error = _refused(tmp_path, old, new)
    assert re.search(said, error.problem), error.problem
    assert str(tmp_path / "stream.toml") in error.problem


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"amount", "count"', '"amnt", "count"', r"features\.order names amnt.*mean amount\?"),
        ('id = "id"', 'id = "idd"', r"event\.id names idd"),
        ("[label]", '[privacy]\nprivate = ["colr"]\n[label]', r"privacy\.private names colr"),
        ("[label]", '[watch]\nslices = ["colr"]\n[label]', r"watch\.slices names colr"),
        ("[label]", '[fairness]\ngroups = ["colr"]\n[label]', r"fairness\.groups names colr"),
        (
            "[label]",
            '[fairness]\ngroups = ["colour"]\n[privacy]\nprivate = ["colour"]\n[label]',
            r"fairness\.groups names colour, which privacy\.private keeps out",
        ),
    ],
)
def test_a_field_that_the_schema_lacks_is_named(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """Wherever stream.toml names fields."""
    assert re.search(said, _refused(tmp_path, old, new).problem)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "key"', 'key = "amount"', r"event\.key names amount, .* as double"),
        ('id = "id"', 'id = "maybe_id"', r"event\.id names maybe_id, .* as string or null"),
        ('time = "at"', 'time = "key"', r"event\.time names key, .* as long"),
        ('time = "at"', 'time = "day"', r"event\.time names day, .* as date"),
        ('time = "at"', 'time = "maybe_at"', r"timestamp-millis or null"),
        ('"amount", "count"', '"id", "count"', r"features\.order names id, .* as string"),
        ('"amount", "count"', '"day", "count"', r"features\.order names day, .* as date"),
        ('"amount", "count"', '"many", "count"', r"features\.order names many, .* as array"),
        ('"colour"]\n[', '"amount"]\n[', r"features\.categories names amount, .* as double"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_type(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """And the remedy says what it must be."""
    error = _refused(tmp_path, old, new)
    assert re.search(said, error.problem), error.problem
    assert error.remedy.startswith("It must be ")


_RIVER = """[[watch.detectors]]
type = "ADWIN"
delta = 0.01
[[watch.detectors]]
type = "ADWIN"
on = "confidence"
[label]"""


def test_rivers_detectors_are_named_with_their_parameters(tmp_path: Path) -> None:
    """What is left out is River's own default."""
    watch = Stream.load(_write(tmp_path, _TOML.replace("[label]", _RIVER))).watch
    assert [one.id for one in watch.detectors] == ["ADWIN_error", "ADWIN_confidence"]
    assert [one.parameters()["delta"] for one in watch.detectors] == [0.01, 0.002]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[label]", "[watch]\nwindow_event = 9\n[label]", r"mean window_events\?"),
        ("[label]", "[watch]\nwindow_events = 9\n[label]", r"watch\.window_events: "),
        ("[label]", _RIVER.replace("ADWIN", "ADWN"), r"detectors\.0: no detector ADWN .*ADWIN\?"),
        ("[label]", _RIVER.replace("delta", "dleta"), r"has no parameter dleta .*mean delta\?"),
        ("[label]", _RIVER.replace("0.01", "7"), r"watch\.detectors\.0.*delta: .*less than 1"),
        (
            "[label]",
            _RIVER.replace('on = "confidence"', ""),
            "two detectors are called ADWIN_error",
        ),
        ('[label]\nkind = "binary"', _RIVER + '\nkind = "regression"', "a regression has not"),
    ],
)
def test_what_is_wrong_in_watch_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """With the nearest detector or parameter that there is."""
    assert re.search(said, _refused(tmp_path, old, new).problem)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("[judge]\nrows_min = 100\nrows_max = 99\n[model]", "rows_min 100 is above rows_max 99"),
        ("[judge]\nalpha = 0.5\n[model]", r"judge\.alpha"),
        ("[judge]\nmargin = -0.1\n[model]", r"judge\.margin"),
        ("[judge]\nlos = 'error'\n[model]", "loss"),
    ],
)
def test_what_is_wrong_in_judge_is_named(tmp_path: Path, new: str, said: str) -> None:
    """The key, and what contradicts it."""
    assert re.search(said, str(_refused(tmp_path, "[model]", new)))


def test_a_regression_has_no_accuracy_to_fall(tmp_path: Path) -> None:
    """A bound of it would never ask for a retraining: it is refused, and what could is named."""
    text = _TOML.replace('"binary"', '"regression"') + "[retrain]\naccuracy_min = 0.8\n"
    with pytest.raises(StreamInvalid, match=r"retrain\.accuracy_min .* regression has no accuracy"):
        Stream.load(_write(tmp_path, text))


def test_a_regression_has_no_log_loss(tmp_path: Path) -> None:
    """Its judge compares errors, or squared ones."""
    text = _TOML.replace('"binary"', '"regression"') + '[judge]\nloss = "log_loss"\n'
    with pytest.raises(StreamInvalid, match=r"judge\.loss is log_loss"):
        Stream.load(_write(tmp_path, text))
    path = _write(tmp_path, text.replace("log_loss", "squared_error"))
    assert Stream.load(path).judge.loss == "squared_error"


def test_a_missing_schema_is_named(tmp_path: Path) -> None:
    """With the key to set."""
    path = _write(tmp_path)
    (tmp_path / "event.avsc").unlink()
    with pytest.raises(StreamInvalid, match=r"event\.avsc does not exist. Set event\.schema"):
        Stream.load(path)


def test_a_missing_stream_toml_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(StreamInvalid, match=r"stream\.toml does not exist"):
        Stream.load(tmp_path / "stream.toml")


def test_loading_writes_nothing(tmp_path: Path) -> None:
    """The folder is as it was."""
    _write(tmp_path)
    before = sorted(tmp_path.iterdir())
    Stream.load(tmp_path / "stream.toml")
    assert sorted(tmp_path.iterdir()) == before
