"""Every way in which a bundle can be broken, through the path on which a release loads one."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from millstream.errors import BundleInvalid
from millstream.models.bundle import CARD_FILE, MODEL_FILE, Bundle, digest_of
from millstream.models.passport import PASSPORT_FILE, Passport, require_passport
from millstream.models.proof import prove, repeat
from millstream.models.session import Session
from millstream.models.signing import make_keys, sign
from tests.millstream.models.graphs import DOUBLE, model, value
from tests.millstream.models.passports import FACTS, bundle_of, library, logistic, rows

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Released:
    """What comes of a bundle that is let through."""

    passport: Passport
    score: float


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The releaser's key pair."""
    return make_keys(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A whole, signed bundle, to be broken."""
    bundle = bundle_of(tmp_path / "m")
    prove(bundle, rows(), library, FACTS).save(bundle.folder)
    sign(bundle, keys[0])
    return bundle.folder


def released(folder: Path, public: Path, model_bytes_max: int = 1 << 20) -> Released:
    """As a scorer takes a release: load, signature and passport, session, first scores."""
    bundle = Bundle.load(folder, model_bytes_max)
    passport = require_passport(bundle, "required", public)
    assert passport is not None
    session = Session(bundle)
    try:
        session.warm_up()
        return Released(passport, float(session.score(rows(1)).score[0]))
    finally:
        session.close()


def test_a_whole_bundle_is_released(folder: Path, keys: tuple[Path, Path]) -> None:
    """The others are this one, broken in one way each."""
    found = released(folder, keys[1])
    assert found.passport.passed
    assert found.score == pytest.approx(library(rows(1))[0, 1])


def _rewrite(folder: Path, proto: onnx.ModelProto) -> None:
    """Another model under the same card, with the right digest in it."""
    content = proto.SerializeToString()
    (folder / MODEL_FILE).write_bytes(content)
    lines = (folder / CARD_FILE).read_text().splitlines()
    digest = f'digest = "{digest_of(content)}"'
    lines = [digest if line.startswith("digest") else line for line in lines]
    (folder / CARD_FILE).write_text("\n".join(lines) + "\n")


def _flipped_bit(folder: Path) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[100] ^= 4
    (folder / MODEL_FILE).write_bytes(content)


def _pickle_for_a_model(folder: Path) -> None:
    content = b"\x80\x04cposix\nsystem\nX\x09\x00\x00\x00touch boo\x85R."
    (folder / MODEL_FILE).write_bytes(content)
    text = (folder / CARD_FILE).read_text().splitlines()
    digest = f'digest = "{digest_of(content)}"'
    text = [digest if line.startswith("digest") else line for line in text]
    (folder / CARD_FILE).write_text("\n".join(text) + "\n")


def _external_data(folder: Path) -> None:
    proto = logistic()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/hostname")
    _rewrite(folder, proto)


def _external_data_in_a_branch(folder: Path) -> None:
    """Beside the model, in a subgraph's attribute, with a harmless name."""
    proto = logistic()
    tensor = helper.make_tensor("hidden", DOUBLE, [0], [])
    tensor.external_data.add(key="location", value="weights.bin")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value=tensor)], "b", [], [value("k", DOUBLE, None)]
    )
    node = proto.graph.node.add(op_type="If", input=["hole"], output=["unused"])
    node.attribute.append(helper.make_attribute("then_branch", branch))
    _rewrite(folder, proto)


def _custom_operator(folder: Path) -> None:
    proto = logistic()
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "ai.onnx.contrib", "PyOp"
    _rewrite(folder, proto)


def _tomorrows_opset(folder: Path) -> None:
    proto = logistic()
    proto.opset_import[0].version = 77
    _rewrite(folder, proto)


def _oversized(folder: Path) -> None:
    with (folder / MODEL_FILE).open("ab") as stream:
        stream.truncate(2 << 20)


def _pipe(folder: Path) -> None:
    """Nobody ever writes into it: opening it for reading would wait for ever."""
    (folder / MODEL_FILE).unlink()
    os.mkfifo(folder / MODEL_FILE)


def _other_inputs(folder: Path) -> None:
    proto = model(
        [helper.make_node("Identity", ["x"], ["scores"])],
        [value("x", DOUBLE, "n", 1)],
        [value("scores", DOUBLE, "n", 1)],
    )
    _rewrite(folder, proto)


def _fixed_batch(folder: Path) -> None:
    proto = logistic()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 32
    _rewrite(folder, proto)


def _misspelt_card(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text()
    (folder / CARD_FILE).write_text(text.replace("missing =", "mising =", 1))


def _no_card(folder: Path) -> None:
    (folder / CARD_FILE).unlink()


def _no_passport(folder: Path) -> None:
    (folder / PASSPORT_FILE).unlink()


def _failed_passport(folder: Path) -> None:
    bundle = Bundle.load(folder)
    prove(bundle, rows(), lambda batch: library(batch, fill=4.0), FACTS).save(folder)


def _passport_of_another_model(folder: Path) -> None:
    fields = json.loads((folder / PASSPORT_FILE).read_text())
    fields["digest"] = "sha256:" + "ab" * 32
    (folder / PASSPORT_FILE).write_text(json.dumps(fields))


def _changed_threshold(folder: Path) -> None:
    text = (folder / CARD_FILE).read_text()
    (folder / CARD_FILE).write_text(text.replace("threshold = 0.5", "threshold = 0.01"))


Break = Callable[[Path], None]
UNSIGNED: list[tuple[Break, str, str]] = [
    (_flipped_bit, r"model\.onnx has the digest sha256:", "Copy the whole bundle again"),
    (_pickle_for_a_model, r"model\.onnx is not an ONNX model", "Export the model again"),
    (_external_data, "tensor 'w' keeps its data in another file", "data inside"),
    (_external_data_in_a_branch, "tensor 'hidden' keeps its data in another file", "data inside"),
    (_custom_operator, r"ai\.onnx\.contrib::PyOp is not allowed", "Use operators of ai.onnx"),
    (_tomorrows_opset, "opset ai.onnx 77 .* is not supported", "lower target opset"),
    (_oversized, r"model\.onnx is larger than 1,048,576 bytes", "smaller model, or raise"),
    (_pipe, r"model\.onnx is not a plain file", "Copy the whole bundle again"),
    (_other_inputs, "shape .*, bundle.toml declares 3 features", "exactly the features"),
    (_fixed_batch, r"fixed shape \[32, 3\]", "symbolic first dimension"),
    (_misspelt_card, "unknown key features.0.mising", "Write it as 'missing'"),
    (_no_card, r"bundle\.toml is missing", "Copy the whole bundle"),
]
SIGNED: list[tuple[Break, str, str]] = [
    (_no_passport, r"has no passport\.json", "millstream bundle make"),
    (_failed_passport, "the check failed: parity_hostile", "Export in doubles"),
    (_passport_of_another_model, r"issued for another model\.onnx", "millstream bundle make"),
    (_changed_threshold, r"issued for another bundle\.toml", "millstream bundle make"),
]


def _refused(folder: Path, public: Path, says: str, remedy: str) -> None:
    with pytest.raises(BundleInvalid, match=says) as caught:
        released(folder, public)
    assert str(folder) in caught.value.problem
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("break_it", "says", "remedy"), UNSIGNED, ids=[each[0].__name__ for each in UNSIGNED]
)
def test_a_broken_bundle_is_refused(
    folder: Path, keys: tuple[Path, Path], break_it: Break, says: str, remedy: str
) -> None:
    """Before its signature is even looked at, with its own reason and remedy."""
    break_it(folder)
    _refused(folder, keys[1], says, remedy)


@pytest.mark.parametrize(
    ("break_it", "says", "remedy"), SIGNED, ids=[each[0].__name__ for each in SIGNED]
)
def test_a_signature_makes_no_passport(
    folder: Path, keys: tuple[Path, Path], break_it: Break, says: str, remedy: str
) -> None:
    """Whoever signs a bundle that nobody has proven: it is refused all the same."""
    break_it(folder)
    _refused(folder, keys[1], "since it was signed", "sign")
    sign(Bundle.load(folder), keys[0])
    _refused(folder, keys[1], says, remedy)


def test_a_node_that_asks_for_terabytes_is_refused(tmp_path: Path) -> None:
    """The session builds; the first rows fail cleanly, and the bundle gets no passport."""
    proto = model(
        [
            helper.make_node("ConstantOfShape", ["size"], ["vast"]),
            helper.make_node("ReduceSum", ["vast"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["sum"], ["zero"], to=DOUBLE),
            helper.make_node("MatMul", ["x", "w"], ["logit"]),
            helper.make_node("Add", ["logit", "zero"], ["scores"]),
        ],
        [value("x", DOUBLE, "n", 3)],
        [value("scores", DOUBLE, "n", 1)],
        {"size": np.array([1 << 40]), "w": np.zeros((3, 1))},
    )
    bundle = bundle_of(tmp_path / "m", proto)
    with pytest.raises(BundleInvalid, match=r"cannot score 1 rows of zeros: .*failed") as caught:
        Session(bundle).warm_up()
    assert "export it again" in caught.value.remedy
    passport = prove(bundle, rows(), library, FACTS).save(bundle.folder)
    assert not any(c.passed for c in repeat(bundle, passport) if c.name.startswith("parity"))
    with pytest.raises(BundleInvalid, match="the check failed: parity_ordinary"):
        require_passport(bundle)


_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}


def _unsafe(text: str) -> list[str]:
    """Imports of what runs code while it reads, and arguments that allow it."""
    found = []
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [name for name in names if name.partition(".")[0] in _CODE]
        if isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "weights_only"}:
            found.append(node.arg)
        if isinstance(node, ast.Attribute) and node.attr == "register_custom_ops_library":
            found.append(node.attr)
    return found


def test_nothing_reads_a_pickle_or_loads_native_code() -> None:
    """In no program and no library of ours."""
    found = {
        str(file.relative_to(ROOT)): _unsafe(file.read_text("utf-8"))
        for part in ("millstream", "consumers", "streams", "ops", "examples")
        for file in (ROOT / part).rglob("*.py")
    }
    assert len(found) > 100
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text", ["import pickle", "from joblib import load", "np.load(f, allow_pickle=True)"]
)
def test_a_pickle_would_be_found(text: str) -> None:
    """However it is written."""
    assert _unsafe(text)
