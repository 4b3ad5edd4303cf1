"""The events and models of the benchmark."""

from __future__ import annotations

import io
import json

import fastavro
import numpy as np
import pytest

from millstream.columnar import Encoder, frame
from ops.bench.data import SUBJECTS, Shape, chunk, event_schema, events, features, matrix

SHAPES: tuple[Shape, ...] = ("floats", "mixed")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_arguments_give_the_same_events(shape: Shape) -> None:
    """A result can be repeated, and another seed gives other events."""
    assert chunk(shape, 1, 50).equals(chunk(shape, 1, 50))
    assert not chunk(shape, 1, 50).equals(chunk(shape, 1, 50, seed=9))


@pytest.mark.parametrize("shape", SHAPES)
def test_events_are_about_270_bytes(shape: Shape) -> None:
    """Both shapes cost a network and a disk the same."""
    values = Encoder(event_schema(shape), frame(7)).encode(chunk(shape, 0, 500))
    assert 250 < sum(map(len, values)) / len(values) < 290


@pytest.mark.parametrize("shape", SHAPES)
def test_an_independent_reader_reads_the_events(shape: Shape) -> None:
    """fastavro, which the peers use, finds the features that the model is given."""
    batch = chunk(shape, 0, 20)
    schema = fastavro.parse_schema(json.loads(event_schema(shape)))
    rows = matrix(batch, shape)
    for row, value in enumerate(Encoder(event_schema(shape), frame(7)).encode(batch)):
        read = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema)
        assert isinstance(read, dict)
        assert read["id"] == f"e{row}"
        found = [read[feature.name] for feature in features(shape)]
        assert np.array_equal(np.array(found, np.float64), rows[row], equal_nan=True)


def test_the_mixed_shape_is_mixed() -> None:
    """34 fields; strings, nullable unions, ints, timestamps and enums, and some nulls."""
    schema = json.loads(event_schema("mixed"))
    kinds = [
        field["type"] if isinstance(field["type"], str) else json.dumps(field["type"])
        for field in schema["fields"]
    ]
    assert len(kinds) == 34
    for word in ("string", "null", "int", "timestamp-micros", "timestamp-millis", "enum"):
        assert any(word in kind for kind in kinds), word
    assert chunk("mixed", 0, 500).column("note").null_count > 50


def test_ids_count_on_over_the_chunks() -> None:
    """The first events of a stream are the same, however many follow."""
    few = list(events("floats", 3))
    assert [batch.num_rows for batch in few] == [3]
    assert few[0].column("id").to_pylist() == ["e0", "e1", "e2"]
    assert set(SUBJECTS) == {"a", "b", "m"}
