"""Bundles on disk: written whole or not at all, read once, refused for what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_FILE, MODEL_FILE, Bundle, digest_of, write_bundle
from millstream.models.card import write_card
from tests.millstream.models.graphs import FLOAT, card, identity, value, written


def test_a_written_bundle_loads_as_it_was(tmp_path: Path) -> None:
    """Card and bytes come back, and nothing else is left in the folder's parent."""
    bundle = written(tmp_path / "model")
    again = Bundle.load(tmp_path / "model")
    assert again == bundle
    assert again.digest == digest_of((tmp_path / "model" / MODEL_FILE).read_bytes())
    assert (again.name, again.version) == ("test", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_bytes_that_were_checked_are_the_bytes_that_run(tmp_path: Path) -> None:
    """A file changed after the load changes nothing in the bundle."""
    written(tmp_path / "model")
    bundle = Bundle.load(tmp_path / "model")
    (tmp_path / "model" / MODEL_FILE).write_bytes(b"something else")
    assert digest_of(bundle.model_bytes) == bundle.digest


def _remove_card(folder: Path) -> None:
    (folder / CARD_FILE).unlink()


def _remove_model(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


def _flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(content)


def _cut_the_model(folder: Path) -> None:
    _put(folder, (folder / MODEL_FILE).read_bytes()[:-7])


def _damage_the_card(folder: Path) -> None:
    (folder / CARD_FILE).write_text("name = [")


def _make_the_card_a_folder(folder: Path) -> None:
    (folder / CARD_FILE).unlink()
    (folder / CARD_FILE).mkdir()


def _put(folder: Path, model: bytes) -> None:
    """A model with the right digest, so that a later check has to find what is wrong."""
    (folder / MODEL_FILE).write_bytes(model)
    digest = digest_of(model)
    lines = (folder / CARD_FILE).read_text().splitlines()
    lines = [f'digest = "{digest}"' if line.startswith("digest") else line for line in lines]
    (folder / CARD_FILE).write_text("\n".join(lines))


def _external_data(folder: Path) -> None:
    proto = identity()
    tensor = proto.graph.initializer.add(name="w", data_type=FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    _put(folder, proto.SerializeToString())


def _foreign_operator(folder: Path) -> None:
    proto = identity()
    proto.graph.node[0].domain = "evil.example"
    _put(folder, proto.SerializeToString())


def _future_opset(folder: Path) -> None:
    proto = identity()
    proto.opset_import[0].version = 99
    _put(folder, proto.SerializeToString())


def _one_feature_more(folder: Path) -> None:
    with (folder / CARD_FILE).open("a") as card_file:
        card_file.write('[[features]]\nname = "extra"\n')


def _another_output(folder: Path) -> None:
    proto = identity()
    proto.graph.output[0].name = "result"
    proto.graph.node[0].output[0] = "result"
    _put(folder, proto.SerializeToString())


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (_remove_card, f"{CARD_FILE} is missing"),
    (_remove_model, f"{MODEL_FILE} is missing"),
    (_flip_a_byte, f"{MODEL_FILE} has the digest sha256:"),
    (_cut_the_model, f"{MODEL_FILE} is not an ONNX model"),
    (_damage_the_card, f"{CARD_FILE} is not valid TOML"),
    (_make_the_card_a_folder, f"{CARD_FILE} cannot be read"),
    (_external_data, "tensor 'w' keeps its data in another file"),
    (_foreign_operator, "operator evil.example::Identity is not allowed"),
    (_future_opset, "opset ai.onnx 99 .* is not supported"),
    (_one_feature_more, "bundle.toml declares 2 features"),
    (_another_output, "has no output 'scores'; it has result"),
]


@pytest.mark.parametrize(("break_it", "says"), BROKEN, ids=[b.__name__ for b, _ in BROKEN])
def test_a_broken_bundle_is_refused(
    tmp_path: Path, break_it: Callable[[Path], None], says: str
) -> None:
    """Every way of being broken has its own reason, names the file, and comes with a remedy."""
    written(tmp_path / "model")
    break_it(tmp_path / "model")
    with pytest.raises(BundleInvalid, match=says) as caught:
        Bundle.load(tmp_path / "model")
    assert str(tmp_path / "model") in caught.value.problem
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The path that was asked for is in the problem."""
    with pytest.raises(BundleInvalid, match=r"there is no bundle folder .*nowhere"):
        Bundle.load(tmp_path / "nowhere")


def test_a_model_over_the_cap_is_refused(tmp_path: Path) -> None:
    """Not more than the cap is read."""
    written(tmp_path / "model")
    with pytest.raises(BundleInvalid, match="larger than 10 bytes"):
        Bundle.load(tmp_path / "model", model_bytes_max=10)


def test_writing_the_same_bundle_again_changes_nothing(tmp_path: Path) -> None:
    """Same name, version and digest: the first one stays, byte for byte."""
    first = written(tmp_path / "model")
    before = (tmp_path / "model" / CARD_FILE).read_bytes()
    again = written(tmp_path / "model", metrics={"auc": 0.5})
    assert again == first
    assert (tmp_path / "model" / CARD_FILE).read_bytes() == before


def test_another_version_is_never_overwritten(tmp_path: Path) -> None:
    """A published version never changes; the old bundle still loads."""
    first = written(tmp_path / "model")
    with pytest.raises(BundleInvalid, match="already holds test 1"):
        written(tmp_path / "model", version="2")
    assert Bundle.load(tmp_path / "model") == first


def test_a_card_that_does_not_fit_its_model_is_not_written(tmp_path: Path) -> None:
    """Nothing is left behind, not even the folder's parent."""
    proto = identity(width=2)
    with pytest.raises(BundleInvalid, match="declares 1 features"):
        write_bundle(tmp_path / "deep" / "model", proto.SerializeToString(), card(proto))
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    """An output of shape [1], as onnxmltools declares it, would warn on every batch."""
    proto = identity()
    proto.graph.node.add(op_type="Identity", input=["x"], output=["label"])
    proto.graph.output.append(value("label", FLOAT, 1))
    (tmp_path / MODEL_FILE).write_bytes(proto.SerializeToString())
    (tmp_path / CARD_FILE).write_text(write_card(card(proto)))
    with pytest.raises(BundleInvalid, match=r"'label' has the fixed shape \[1\]"):
        Bundle.load(tmp_path)
