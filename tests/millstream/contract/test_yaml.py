"""YAML that any reader takes for the same values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from millstream.contract.yaml import to_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.floats(allow_nan=False).filter(lambda value: abs(value) != float("inf")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_another_reader_finds_the_same(value: Any) -> None:
    """PyYAML, which reads YAML 1.1."""
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize("text", ["on", "1.5", "2024-01-01", "a: b", "- x", "#", "é☃\u2028\x85"])
def test_a_text_stays_a_text(text: str) -> None:
    """Whatever it looks like."""
    assert yaml.safe_load(to_yaml({text: [text]})) == {text: [text]}
