"""`millstream init`: a stream that works, or nothing at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from millstream.errors import BundleInvalid, ContractMismatch, StreamInvalid
from millstream.fit import require_fit
from millstream.models.bundle import Bundle
from millstream.models.session import Session
from millstream.starter import ModelFacts, Roles, bundle_from_onnx, start_stream
from tests.millstream.models.graphs import DOUBLE, FLOAT, INT64, STRING, identity, model, value
from tests.streams import LOANS, applications, make_loans

_FACTS = ModelFacts(("a", "b"), "binary", ("no", "yes"), datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example's bundle."""
    return make_loans(tmp_path_factory.mktemp("loans")).stream.bundle_path


def _schema(folder: Path, *fields: dict[str, Any]) -> Path:
    path = folder / "event.avsc"
    path.write_text(json.dumps({"type": "record", "name": "E", "fields": list(fields)}))
    return path


def _loans_schema(folder: Path, **types: Any) -> Path:
    schema = json.loads((LOANS / "event.v1.avsc").read_text("utf-8"))
    fields = [f | {"type": types.get(f["name"], f["type"])} for f in schema["fields"]]
    extra = [
        {"name": n, "type": t} for n, t in types.items() if n not in {f["name"] for f in fields}
    ]
    return _schema(folder, *extra, *fields)


def test_a_stream_of_a_bundle_works(tmp_path: Path, bundle: Path) -> None:
    """It loads, fits, and its bundle scores the event schema's columns."""
    stream = start_stream(
        tmp_path / "orders", LOANS / "event.v1.avsc", bundle, Roles(key="applicant")
    )
    assert stream.name == "orders"
    assert (stream.event.key, stream.event.id, stream.event.time) == (
        "applicant", "application_id", "applied_at",
    )  # fmt: skip
    made = Bundle.load(stream.bundle_path)
    require_fit(stream, made)
    assert len(Session(made).score(applications(5)).rows) == 5
    assert made.digest == Bundle.load(bundle).digest
    assert sorted(path.name for path in (tmp_path / "orders").iterdir()) == [
        "bundle", "event.v1.avsc", "stream.toml",
    ]  # fmt: skip


def test_the_key_is_the_id_unless_it_is_named(tmp_path: Path, bundle: Path) -> None:
    """The id is found by its name, the time by its type."""
    stream = start_stream(tmp_path / "orders", LOANS / "event.v1.avsc", bundle, Roles())
    assert stream.event.key == stream.event.id == "application_id"


def test_a_field_that_may_be_null_is_not_guessed(tmp_path: Path, bundle: Path) -> None:
    """The next one that fits is."""
    stamp = {"type": "long", "logicalType": "timestamp-millis"}
    schema = _loans_schema(tmp_path, seen_at=["null", stamp], old_id=["null", "string"])
    stream = start_stream(tmp_path / "orders", schema, bundle, Roles())
    assert (stream.event.id, stream.event.time) == ("application_id", "applied_at")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([{"name": "n", "type": "double"}], "looks like the event's time"),
        (
            [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}],
            "looks like the event's id",
        ),
    ],
)
def test_a_role_that_cannot_be_guessed_is_asked_for(
    tmp_path: Path, bundle: Path, fields: list[dict[str, Any]], said: str
) -> None:
    """With the option that names it; nothing is written."""
    with pytest.raises(StreamInvalid, match=rf"{said}. Name it: --(time|id) FIELD"):
        start_stream(tmp_path / "orders", _schema(tmp_path, *fields), bundle, Roles())
    assert not (tmp_path / "orders").exists()


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, bundle: Path) -> None:
    """Whatever is in it."""
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "mine").write_text("x")
    with pytest.raises(StreamInvalid, match="exists already"):
        start_stream(tmp_path / "orders", LOANS / "event.v1.avsc", bundle, Roles())
    assert (tmp_path / "orders" / "mine").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "types", "roles", "error"),
    [
        ("orders", {"car": "string"}, Roles(), StreamInvalid),
        ("orders", {}, Roles(key="nobody"), StreamInvalid),
        ("orders", {}, Roles(time="age"), StreamInvalid),
        ("Not-A-Name", {}, Roles(), StreamInvalid),
        ("orders", {"zipcode": {"type": "int", "logicalType": "date"}}, Roles(), StreamInvalid),
    ],
    ids=["wrong type", "no such key", "no time", "bad name", "a date"],
)
def test_what_does_not_fit_leaves_nothing_behind(
    tmp_path: Path,
    bundle: Path,
    name: str,
    types: dict[str, Any],
    roles: Roles,
    error: type[Exception],
) -> None:
    """Neither the stream's folder nor those above it that were made for it."""
    schema = _loans_schema(tmp_path, **types)
    with pytest.raises(error):
        start_stream(tmp_path / "deep" / "er" / name, schema, bundle, roles)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["event.avsc"]


def test_a_folder_above_that_was_there_stays(tmp_path: Path, bundle: Path) -> None:
    """With everything in it."""
    (tmp_path / "streams").mkdir()
    with pytest.raises(StreamInvalid):
        start_stream(
            tmp_path / "streams" / "a", LOANS / "event.v1.avsc", bundle, Roles(key="nobody")
        )
    assert list((tmp_path / "streams").iterdir()) == []


def test_a_missing_schema_or_bundle_is_named(tmp_path: Path, bundle: Path) -> None:
    """Before anything is written."""
    with pytest.raises(StreamInvalid, match=r"none\.avsc does not exist"):
        start_stream(tmp_path / "a", tmp_path / "none.avsc", bundle, Roles())
    with pytest.raises(BundleInvalid, match="no bundle folder"):
        start_stream(tmp_path / "a", LOANS / "event.v1.avsc", tmp_path / "none", Roles())
    assert list(tmp_path.iterdir()) == []


def _onnx(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def _columns(element: int) -> onnx.ModelProto:
    """Two inputs, one of them perhaps text; the other one is the score."""
    nodes = [helper.make_node("Identity", ["a"], ["scores"])]
    inputs = [value("a", DOUBLE, "n", 1), value("b", element, "n", 1)]
    return model(nodes, inputs, [value("scores", DOUBLE, "n", 1)])


def test_a_bare_model_with_one_tensor_becomes_a_bundle(tmp_path: Path) -> None:
    """Its features are what its owner says, numbers all of them."""
    made = bundle_from_onnx(tmp_path / "b", _onnx(tmp_path, identity(FLOAT, 2)), "m", _FACTS)
    assert (made.card.input.layout, made.card.input.name) == ("tensor", "x")
    assert [f.name for f in made.card.features] == ["a", "b"]
    assert (made.card.positive, made.card.threshold) == ("yes", 0.5)
    assert Bundle.load(tmp_path / "b").digest == made.digest


@pytest.mark.parametrize(
    ("element", "kind"),
    [(STRING, "category"), (TensorProto.BOOL, "boolean"), (FLOAT, "number"), (INT64, "number")],
)
def test_a_bare_model_with_columns_knows_its_features_types(
    tmp_path: Path, element: int, kind: str
) -> None:
    """An input of text is a category, one of truth values a boolean."""
    facts = replace(_FACTS, kind="regression", labels=())
    made = bundle_from_onnx(tmp_path / "b", _onnx(tmp_path, _columns(element)), "m", facts)
    assert [(f.name, f.type) for f in made.card.features] == [("a", "number"), ("b", kind)]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("m", {"labels": ("yes",)}, "binary needs two labels"),
        ("m", {"labels": ("yes", "yes")}, "same label twice"),
        ("m", {"kind": "multiclass", "labels": ("one",)}, "at least two labels"),
        ("m", {"features": ("a", "a")}, "declared twice"),
        ("m", {"features": ()}, "features"),
        ("no name", {}, "name"),
        ("m", {"created": datetime(2024, 1, 1)}, "created"),  # noqa: DTZ001 - the fault
        ("m", {"features": ("a", "b", "c")}, "model.onnx"),
    ],
)
def test_facts_that_no_model_can_have_are_named(
    tmp_path: Path, name: str, changes: dict[str, Any], said: str
) -> None:
    """In one line, as the operator's error that it is; nothing is written."""
    facts = replace(_FACTS, **changes)
    with pytest.raises(BundleInvalid, match=said) as caught:
        bundle_from_onnx(tmp_path / "b", _onnx(tmp_path, identity(FLOAT, 2)), name, facts)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    """A missing file, and one of other bytes."""
    with pytest.raises(BundleInvalid, match="cannot be read"):
        bundle_from_onnx(tmp_path / "b", tmp_path / "none.onnx", "m", _FACTS)
    (tmp_path / "model.onnx").write_bytes(np.arange(99).tobytes())
    with pytest.raises(BundleInvalid, match=r"model\.onnx"):
        bundle_from_onnx(tmp_path / "b", tmp_path / "model.onnx", "m", _FACTS)


def test_a_bare_model_that_does_not_fit_the_events_is_refused(tmp_path: Path) -> None:
    """As a bundle would be: its features are no fields."""
    made = bundle_from_onnx(tmp_path / "b", _onnx(tmp_path, identity(FLOAT, 2)), "m", _FACTS)
    with pytest.raises((StreamInvalid, ContractMismatch), match="names a, which"):
        start_stream(tmp_path / "s", LOANS / "event.v1.avsc", made.folder, Roles())
    assert not (tmp_path / "s").exists()
