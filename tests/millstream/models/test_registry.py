"""The registry in a folder: kills, two processes at once, damage; the rest is tests/contract."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from millstream.errors import BundleInvalid, DependencyUnavailable
from millstream.models.bundle import Bundle
from millstream.models.reference import ModelReference
from millstream.models.registry import FolderRegistry
from tests.millstream.models.graphs import identity, one_node, written

WORDS = st.sampled_from(["a", "b", "1", "v1.0", "x-y_z"])


PROTOS = {"id": identity(), "neg": one_node("Neg")(), "abs": one_node("Abs")()}


class Written(RuleBasedStateMachine):
    """A registry beside what it should hold, as dictionaries."""

    @initialize()
    def start(self) -> None:
        """Both are empty."""
        self.root = Path(tempfile.mkdtemp(prefix="millstream-registry-"))
        self.digests: dict[tuple[str, str], str] = {}
        self.tags: dict[tuple[str, str], dict[str, str]] = {}
        self.aliases: dict[tuple[str, str], str] = {}

    @property
    def registry(self) -> FolderRegistry:
        """As another process would open it."""
        return FolderRegistry(self.root / "models")

    @rule(
        name=WORDS,
        version=WORDS,
        model=st.sampled_from(sorted(PROTOS)),
        tags=st.dictionaries(WORDS, st.text(max_size=20), max_size=2),
    )
    def add(self, name: str, version: str, model: str, tags: dict[str, str]) -> None:
        """The first one stays."""
        folder = self.root / "bundles" / f"{name},{version},{model}"
        bundle = written(folder, PROTOS[model], name=name, version=version)
        known = self.digests.get((name, version))
        if known not in (None, bundle.digest):
            with pytest.raises(BundleInvalid):
                self.registry.add(folder, tags)
            return
        self.registry.add(folder, tags)
        self.digests[name, version] = bundle.digest
        if known is None:
            self.tags[name, version] = dict(tags)

    @rule(name=WORDS, version=WORDS, key=WORDS, value=st.text(max_size=20))
    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """The last one stays."""
        if (name, version) not in self.digests:
            with pytest.raises(BundleInvalid):
                self.registry.tag(name, version, key, value)
            return
        self.registry.tag(name, version, key, value)
        self.tags[name, version][key] = value

    @rule(name=WORDS, alias=WORDS, version=WORDS)
    def alias(self, name: str, alias: str, version: str) -> None:
        """The last one stays."""
        if (name, version) not in self.digests:
            with pytest.raises(BundleInvalid):
                self.registry.set_alias(name, alias, version)
            return
        self.registry.set_alias(name, alias, version)
        self.aliases[name, alias] = version

    @invariant()
    def holds_what_was_written(self) -> None:
        """All of it, and nothing else."""
        registry = self.registry
        entries = [e for name in registry.names() for e in registry.versions(name)]
        keys = [(e.reference.name, e.reference.version) for e in entries]
        assert dict(zip(keys, (e.reference.digest for e in entries), strict=True)) == (self.digests)
        assert dict(zip(keys, (e.tags for e in entries), strict=True)) == self.tags
        for (name, alias), version in self.aliases.items():
            found = registry.alias(name, alias)
            assert found is not None
            assert found.version == version

    def teardown(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.root)


def test_any_sequence_of_writes_reads_back() -> None:
    """Whatever is added, tagged and named, in any order, each time by a registry opened anew."""
    run_state_machine_as_test(
        Written,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


_ADD = """
import sys, pathlib
from millstream.errors import BundleInvalid
from millstream.models.registry import FolderRegistry
registry = FolderRegistry(pathlib.Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    try:
        print(registry.add(pathlib.Path(sys.argv[2]) / str(number), {"by": sys.argv[3]}).digest)
    except BundleInvalid:
        print("refused")
    registry.tag("test", str(number), "tag" + sys.argv[3], "x")
    registry.set_alias("test", "champion", str(number))
"""


def test_two_processes_that_add_at_once_agree(tmp_path: Path) -> None:
    """Twenty versions, two models for each: one of them wins, whole, and the other is refused."""
    for number in range(20):
        written(tmp_path / "a" / str(number), identity(), version=str(number))
        written(tmp_path / "b" / str(number), one_node("Neg")(), version=str(number))
    root = tmp_path / "models"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ADD, str(root), str(tmp_path / side), side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n")[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    registry = FolderRegistry(root)
    for entry in registry.versions("test"):
        number = int(entry.reference.version)
        by = entry.tags["by"]
        bundle = Bundle.load(tmp_path / by / str(number))
        assert entry.reference.digest == bundle.digest
        assert answers["ab".index(by)][number] == bundle.digest
        assert answers["ba".index(by)][number] == "refused"
        assert entry.tags == {"by": by, "taga": "x", "tagb": "x"}
        folder = registry.fetch(entry.reference, tmp_path / "cache")
        assert Bundle.load(folder).version == str(number)
    assert len(registry.versions("test")) == 20
    found = registry.alias("test", "champion")
    assert found is not None
    assert found.version == "19"
    assert list(root.rglob(".*")) == []


def test_a_half_written_version_is_not_there(tmp_path: Path) -> None:
    """What an add that was killed left is never listed, and the next add writes over it."""
    bundle = written(tmp_path / "bundle")
    draft = tmp_path / "models" / "test" / "versions" / ".1.0"
    (draft / "bundle").mkdir(parents=True)
    (draft / "bundle" / "model.onnx").write_bytes(b"half")
    (draft / "entry.json").write_text("{")
    registry = FolderRegistry(tmp_path / "models")
    assert registry.names() == []
    assert registry.versions("test") == []
    reference = registry.add(bundle.folder, {})
    assert registry.find("test", "1") == reference
    assert list((tmp_path / "models").rglob(".*")) == []


def test_a_registered_bundle_that_was_damaged_is_not_fetched(tmp_path: Path) -> None:
    """Every file of it is checked, the card too."""
    registry = FolderRegistry(tmp_path / "models")
    reference = registry.add(written(tmp_path / "bundle").folder, {})
    card = tmp_path / "models" / "test" / "versions" / "1" / "bundle" / "bundle.toml"
    card.write_text(card.read_text().replace("regression", "multiclass"))
    with pytest.raises(BundleInvalid, match=r"bundle\.toml is damaged"):
        registry.fetch(reference, tmp_path / "cache")
    card.unlink()
    with pytest.raises(BundleInvalid, match=r"bundle\.toml is missing"):
        registry.fetch(reference, tmp_path / "cache")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"created_at": 1}', '{"manifest": {}}'])
def test_a_damaged_entry_is_named(tmp_path: Path, content: str) -> None:
    """The file, and the remedy."""
    registry = FolderRegistry(tmp_path / "models")
    registry.add(written(tmp_path / "bundle").folder, {})
    (tmp_path / "models" / "test" / "versions" / "1" / "entry.json").write_text(content)
    with pytest.raises(BundleInvalid, match=r"entry\.json"):
        registry.versions("test")


def test_a_damaged_tag_is_named(tmp_path: Path) -> None:
    """Bytes that are no text."""
    registry = FolderRegistry(tmp_path / "models")
    registry.add(written(tmp_path / "bundle").folder, {"by": "me"})
    (tmp_path / "models" / "test" / "versions" / "1" / "tags" / "by").write_bytes(b"\xff")
    with pytest.raises(BundleInvalid, match="a tag beside it is damaged"):
        registry.find("test", "1")


def test_a_registered_card_that_is_gone_is_named(tmp_path: Path) -> None:
    """Where the same version is offered again."""
    registry = FolderRegistry(tmp_path / "models")
    bundle = written(tmp_path / "bundle")
    registry.add(bundle.folder, {})
    (tmp_path / "models" / "test" / "versions" / "1" / "bundle" / "bundle.toml").unlink()
    with pytest.raises(BundleInvalid, match=r"bundle\.toml is missing"):
        registry.add(bundle.folder, {})


@pytest.mark.parametrize("name", ["entry.json", "tags/by", "bundle/model.onnx"])
def test_a_file_that_the_disk_does_not_give_is_named(tmp_path: Path, name: str) -> None:
    """Here a folder is in its place; a disk that fails or a right that is missing says the same."""
    registry = FolderRegistry(tmp_path / "models")
    reference = registry.add(written(tmp_path / "bundle").folder, {"by": "me"})
    file = tmp_path / "models" / "test" / "versions" / "1" / name
    file.unlink()
    file.mkdir()
    with pytest.raises(DependencyUnavailable, match=f"disk.*versions/1/{name}"):
        registry.fetch(reference, tmp_path / "cache")


def test_a_folder_that_cannot_be_written_is_a_dependency(tmp_path: Path) -> None:
    """A file is where the registry should be."""
    (tmp_path / "models").touch()
    with pytest.raises(DependencyUnavailable, match="disk"):
        FolderRegistry(tmp_path / "models").add(written(tmp_path / "bundle").folder, {})
    with pytest.raises(DependencyUnavailable, match="disk"):
        FolderRegistry(tmp_path / "models").names()


def test_a_reference_without_location_is_portable(tmp_path: Path) -> None:
    """It says nothing of this machine's folders: the reader's own registry is asked."""
    registry = FolderRegistry(tmp_path / "models")
    reference = registry.add(written(tmp_path / "bundle").folder, {})
    assert reference == ModelReference("test", "1", reference.digest, "")
