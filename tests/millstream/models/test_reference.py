"""References to models: what is one, and what is refused before it becomes a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import BundleInvalid
from millstream.models.reference import ModelReference, asked_for

DIGEST = "sha256:" + "0a" * 32
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)


@given(WORDS, WORDS, st.text("abc:/.@?=&_-0123", max_size=50))
def test_a_reference_comes_back_from_its_fields(name: str, version: str, location: str) -> None:
    """As it travels in records."""
    reference = ModelReference(name, version, DIGEST, location)
    assert ModelReference.of(reference.as_dict()) == reference
    assert asked_for(reference.label) == (name, version)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "../secrets"},
        {"name": ".hidden"},
        {"name": "a/b"},
        {"version": ".."},
        {"version": "1\n"},
        {"version": "v" * 129},
        {"digest": "sha256:0a"},
        {"digest": "sha256:" + "0A" * 32},
        {"digest": "../" + "0" * 68},
        {"location": "s3://bucket/" + "x" * 2_048},
        {"location": "s3://bucket/a\nb"},
    ],
)
def test_what_could_leave_its_folder_is_no_reference(changes: dict[str, str]) -> None:
    """Names and digests become folders' names."""
    fields = {"name": "loans", "version": "3", "digest": DIGEST, "location": "", **changes}
    with pytest.raises(BundleInvalid):
        ModelReference.of(fields)


def test_a_missing_field_is_named() -> None:
    """But the location, which may be left out."""
    with pytest.raises(BundleInvalid, match="has no digest"):
        ModelReference.of({"name": "loans", "version": "3"})
    assert ModelReference.of({"name": "l", "version": "3", "digest": DIGEST}).location == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("loans@3", ("loans", "3")),
        ("loans@champion", ("loans", "champion")),
        ("models:/loans@champion", ("loans", "champion")),
        ("models:/loans/3", ("loans", "3")),
    ],
)
def test_models_are_asked_for_as_people_and_mlflow_write_them(
    text: str, found: tuple[str, str]
) -> None:
    """Each form gives name and version or alias."""
    assert asked_for(text) == found


@pytest.mark.parametrize(
    "text", ["", "loans", "loans@", "@3", "loans@3@4", "models:/loans", "models:/../x@3", "a b@c"]
)
def test_what_names_no_model_says_how_to_write_it(text: str) -> None:
    """With an example."""
    with pytest.raises(BundleInvalid, match="loans@champion"):
        asked_for(text)
