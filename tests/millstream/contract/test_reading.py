"""Records from what a person has at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millstream.contract.kit import examples, kit
from millstream.contract.reading import Given, read_given
from millstream.errors import SettingsInvalid
from millstream.stream import Stream
from tests.streams import LOANS, applications, framed


@pytest.fixture(scope="module")
def stream() -> Stream:
    """The example's."""
    return Stream.load(LOANS / "stream.toml")


def test_a_value_may_be_a_file_or_hexadecimal(stream: Stream, tmp_path: Path) -> None:
    """The same value each way."""
    (value,) = framed(applications(1), 1)
    (tmp_path / "captured").write_bytes(value)
    (tmp_path / "values.hex").write_text(f"{value.hex()}\n\n{value.hex()}\n")
    assert read_given(stream, str(tmp_path / "captured"), 1) == [Given("captured", value)]
    assert read_given(stream, value.hex(), 1) == [Given("value", value)]
    lines = read_given(stream, str(tmp_path / "values.hex"), 1)
    assert lines == [Given("line 1", value), Given("line 3", value)]


def test_events_as_json_become_values(stream: Stream, tmp_path: Path) -> None:
    """Under the id that is asked for; a record that is no event says why."""
    good, other = examples(stream)
    bad = good | {"age": "old"}
    lines = tmp_path / "events.jsonl"
    lines.write_text("\n".join(json.dumps(each) for each in (good, bad, [1])))
    first, second, third = read_given(stream, str(lines), 300)
    assert first.value is not None
    assert first.value[:5] == b"\x00\x00\x00\x01\x2c"
    assert second.wrong == "field age is no whole number of 32 bits"
    assert third.wrong == "it is no JSON object"
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    one.write_text(json.dumps(good))
    many.write_text(json.dumps([good, other]))
    assert [each.value for each in read_given(stream, str(one), 300)] == [first.value]
    assert len(read_given(stream, str(many), 300)) == 2


def test_a_kit_gives_its_bytes(stream: Stream, tmp_path: Path) -> None:
    """As they are, under the cases' names."""
    made = kit(stream)
    file = tmp_path / "events.json"
    file.write_text(json.dumps(made))
    read = read_given(stream, str(file), 99)
    assert [each.name for each in read] == [case["name"] for case in made["cases"]]
    assert [each.value.hex() if each.value is not None else None for each in read] == [
        case["hex"] for case in made["cases"]
    ]


@pytest.mark.parametrize("text", ["nonsense", "abc", "", "x" * 5_000, "a\0b"])
def test_what_is_neither_is_refused(stream: Stream, text: str) -> None:
    """With what it should be."""
    with pytest.raises(SettingsInvalid, match="is no file and no hexadecimal"):
        read_given(stream, text, 1)


def test_a_file_that_is_no_json_is_refused(stream: Stream, tmp_path: Path) -> None:
    """Nor UTF-8."""
    file = tmp_path / "events.json"
    file.write_text("{")
    with pytest.raises(SettingsInvalid, match="cannot be read as JSON"):
        read_given(stream, str(file), 1)
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsInvalid, match="is not UTF-8"):
        read_given(stream, str(file), 1)


def test_a_line_that_is_no_json_is_told_with_its_number(stream: Stream, tmp_path: Path) -> None:
    """The other lines are judged all the same; a line ends at a line feed and nowhere else."""
    good = json.dumps(examples(stream)[0])
    separated = json.dumps(examples(stream)[0] | {"applicant": "a\u2028b"}, ensure_ascii=False)
    lines = tmp_path / "events.jsonl"
    text = "\n".join((good, "", good[:-5], "[" * 100_000, separated))
    lines.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a mark that some editors write
    first, third, fourth, fifth = read_given(stream, str(lines), 1)
    assert (first.wrong, fifth.wrong) == (None, None)
    assert (third.name, third.wrong) == ("line 3", "it is no JSON: Expecting value, column 195")
    assert fourth.wrong is not None
    assert fourth.wrong.startswith("it is no JSON that can be read: ")


@pytest.mark.parametrize(
    ("name", "text"), [("e.jsonl", "\n\n"), ("e.json", "[]"), ("e.json", ""), ("e.hex", "")]
)
def test_a_file_without_records_is_refused(
    name: str, text: str, stream: Stream, tmp_path: Path
) -> None:
    """A check of nothing must not look like one that went well."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsInvalid, match="holds no record"):
        read_given(stream, str(tmp_path / name), 1)
