"""TOML files read into pydantic models: every problem is one line that says what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from millstream.errors import SettingsInvalid, StreamInvalid
from millstream.toml import nearest, parse, read_toml


class Inner(BaseModel):
    """A table."""

    model_config = ConfigDict(extra="forbid")
    schema_file: Annotated[str, Field(alias="schema")]
    size: int = 1


class Outer(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner
    perhaps: Inner | None = None


def _problem(values: dict[str, object]) -> str:
    with pytest.raises(SettingsInvalid) as caught:
        parse(Outer, values, "x.toml", SettingsInvalid)
    assert "\n" not in str(caught.value)
    return caught.value.problem


def test_good_values_become_the_model() -> None:
    """And defaults are filled in."""
    made = parse(Outer, {"name": "a", "inner": {"schema": "s"}}, "x.toml", SettingsInvalid)
    assert (made.name, made.inner.schema_file, made.inner.size) == ("a", "s", 1)


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    """At the top and in a table."""
    assert _problem({"nam": "a", "name": "a", "inner": {"schema": "s"}}) == (
        "x.toml: unknown key nam (did you mean name?)"
    )
    assert _problem({"name": "a", "inner": {"schema": "s", "sice": 2}}) == (
        "x.toml: unknown key inner.sice (did you mean size?)"
    )


def test_the_nearest_key_is_one_that_may_be_written() -> None:
    """Where a key's name in the file differs from the attribute's, the file's is proposed."""
    said = _problem({"name": "a", "inner": {"schema": "s", "shema": "s"}})
    assert said == "x.toml: unknown key inner.shema (did you mean schema?)"


def test_an_unknown_key_of_an_optional_table_is_helped_too() -> None:
    """Behind `| None` the table's keys are known as well."""
    said = _problem({"name": "a", "inner": {"schema": "s"}, "perhaps": {"schema": "s", "sizes": 1}})
    assert said == "x.toml: unknown key perhaps.sizes (did you mean size?)"


def test_a_key_like_no_other_gets_no_hint() -> None:
    """A far-fetched hint would mislead."""
    said = _problem({"name": "a", "inner": {"schema": "s"}, "zzzz": 1})
    assert said == "x.toml: unknown key zzzz"


def test_all_problems_are_told_at_once() -> None:
    """A missing key and a wrong type in one line."""
    said = _problem({"inner": {"schema": "s", "size": "many"}})
    assert "name is missing" in said
    assert "inner.size: " in said


def test_a_check_of_ours_is_told_in_its_own_words() -> None:
    """Without pydantic's preamble."""

    class Even(BaseModel):
        size: int

        @field_validator("size")
        @classmethod
        def _even(cls, size: int) -> int:
            if size % 2:
                raise ValueError("an odd number of shoes")
            return size

    with pytest.raises(SettingsInvalid) as caught:
        parse(Even, {"size": 3}, "x.toml", SettingsInvalid)
    assert caught.value.problem == "x.toml: size: an odd number of shoes"


def test_nearest_is_silent_without_a_near_word() -> None:
    """'' rather than a guess."""
    assert nearest("applicant", ["salary"]) == ""
    assert nearest("applicnt", ["salary", "applicant"]) == " (did you mean applicant?)"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(StreamInvalid, match=r"none\.toml does not exist"):
        read_toml(tmp_path / "none.toml")


def test_what_is_no_file_or_no_text_is_named(tmp_path: Path) -> None:
    """A folder, and bytes that are not UTF-8."""
    with pytest.raises(StreamInvalid, match="cannot be read"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(StreamInvalid, match="cannot be read"):
        read_toml(tmp_path / "latin.toml")


def test_what_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "bad.toml").write_text("a = 1\nb = = 2\n")
    with pytest.raises(StreamInvalid, match=r"is not TOML: .*line 2") as caught:
        read_toml(tmp_path / "bad.toml")
    assert "\n" not in str(caught.value)


def test_the_callers_error_is_raised(tmp_path: Path) -> None:
    """Whoever reads another file says what its error is."""
    with pytest.raises(SettingsInvalid):
        read_toml(tmp_path / "none.toml", SettingsInvalid)
