"""A bench stream as a stream of Millstream's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from consumers.registry import Registry
from millstream.columnar import FRAME_BYTES, make_decoder
from millstream.contracts import contract
from millstream.models.bundle import Bundle
from millstream.models.passport import require_passport
from millstream.settings import RegistrySettings
from ops.bench.loop.models import Models
from ops.bench.loop.staging import FIRST, SPACING_S, Staged, Terms, names_of
from ops.bench.loop.streams import Stream
from ops.registry.process import EmbeddedRegistry

BEGIN_US = 1_700_000_000_000_000


def data(classes: int = 3) -> Stream:
    """4,000 rows: the label is the first number's third, or half."""
    drawn = np.random.default_rng(3).random((4_000, 2))
    labels = (drawn[:, 0] * classes).astype(np.int64)
    return Stream("thirds", drawn, labels, ("a", "b c"), ())


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """Three classes, in a folder of their own."""
    return Staged(data(), tmp_path / "stream", Terms(100, trial=False), BEGIN_US)


def test_every_stream_has_the_same_settings_but_for_its_features_and_labels(
    tmp_path: Path,
) -> None:
    """One partition, so that row i is offset i."""
    found = [
        Staged(data(classes), tmp_path / str(classes), Terms(100, trial=False), BEGIN_US).stream
        for classes in (2, 3)
    ]
    assert [stream.label.kind for stream in found] == ["binary", "multiclass"]
    assert found[0].retrain == found[1].retrain
    assert found[0].features.order == ("a", "b_c")
    assert (found[0].serving.partitions, found[0].retrain.shadow) == (1, False)
    assert found[0].retrain.schedule_labels == 100


def test_the_first_model_is_the_one_process_benchs(staged: Staged) -> None:
    """Of the same rows, with a passport, saying the same of every row that is counted."""
    staged.placeholder()
    bundle = staged.first()
    require_passport(bundle, "required")
    first = staged.data.warm_up
    theirs = Models(staged.data).predicted(((0, first),), first, 4_000)
    assert staged.said(bundle, first) == [str(code) for code in theirs]
    window = bundle.card.window
    assert window is not None
    assert window.start.timestamp() * 1e6 == BEGIN_US
    assert window.end.timestamp() * 1e6 == BEGIN_US + (first - 1) * SPACING_S * 1e6


def test_another_model_answers_the_warm_up(staged: Staged) -> None:
    """The one that stream.toml names."""
    placeholder, first = staged.placeholder(), staged.first()
    assert Bundle.load(staged.stream.bundle_path).digest == placeholder.digest
    assert (first.version, placeholder.version) == (FIRST, "placeholder")
    assert first.digest != placeholder.digest


def test_names_that_avro_does_not_take_are_changed_and_stay_apart() -> None:
    """Two that become one are refused."""
    assert names_of(replace(data(), names=("1st", "b-c"))) == ["x_1st", "b_c"]
    with pytest.raises(AssertionError):
        names_of(replace(data(), names=("b c", "b-c")))


def test_values_hold_the_rows_in_their_order(
    staged: Staged, embedded_registry: EmbeddedRegistry
) -> None:
    """Events as they happened, outcomes of the same ids and keys, known so much later."""
    registry = Registry(RegistrySettings(url=embedded_registry.url))
    events, outcomes = staged.events(registry), staged.outcomes(registry, delay=7)
    event = make_decoder(staged.stream.schema_of_event.text).decode(events, FRAME_BYTES).columns
    known = make_decoder(contract("outcome").text).decode(outcomes, FRAME_BYTES).columns
    assert event.num_rows == known.num_rows == len(staged.kafka_keys()) == 4_000
    assert event.column("a").to_pylist() == staged.data.features[:, 0].tolist()
    assert event.column("event_id").to_pylist() == known.column("event_id").to_pylist()
    assert event.column("key").to_pylist() == [key.decode() for key in staged.kafka_keys()]
    assert known.column("label").to_pylist() == [str(code) for code in staged.data.labels]
    happened = event.column("event_time").cast(pa.int64()).to_numpy()
    told = known.column("known_at").cast(pa.int64()).to_numpy()
    assert (happened == staged.times_us).all()
    assert (told - happened == 7 * SPACING_S * 1_000_000).all()
