"""The contract as files."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from millstream.contract.folder import contract_files, differences
from millstream.stream import Stream
from tests.streams import LOANS


def test_the_committed_contract_of_the_example_is_up_to_date() -> None:
    """Else: millstream contract make examples/loans/stream.toml --to examples/loans/contract"""
    wanted = contract_files(Stream.load(LOANS / "stream.toml"))
    assert differences(wanted, LOANS / "contract") == []


def test_what_differs_is_named(tmp_path: Path) -> None:
    """A file that is missing, one that differs, one too much."""
    wanted = {Path("a/b.json"): "{}\n", Path("c.md"): "x\n"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.json").write_text("{}")
    (tmp_path / "more.txt").write_text("")
    assert differences(wanted, tmp_path) == [
        "more.txt is not of this contract",
        "a/b.json differs",
        "c.md is missing",
    ]


def test_the_version_is_of_the_content(tmp_path: Path) -> None:
    """Another schema is another version; the same is the same."""
    stream = Stream.load(LOANS / "stream.toml")
    first = contract_files(stream)
    assert contract_files(stream) == first
    for name in ("stream.toml", "event.v1.avsc"):
        text = (LOANS / name).read_text("utf-8").replace("partitions = 4", "partitions = 8")
        (tmp_path / name).write_text(text)
    other = contract_files(Stream.load(tmp_path / "stream.toml"))
    versions = [
        next(line for line in files[Path("asyncapi.yaml")].splitlines() if "  version:" in line)
        for files in (first, other)
    ]
    assert versions[0] != versions[1]


def test_every_json_schema_is_a_good_one_and_has_its_avro_schema() -> None:
    """A file of each for every channel."""
    files = contract_files(Stream.load(LOANS / "stream.toml"))
    schemas = [path for path in files if path.parts[0] == "json-schema"]
    assert len(schemas) > 10
    for path in schemas:
        jsonschema.Draft202012Validator.check_schema(json.loads(files[path]))
        avro = Path("avro") / path.name.replace(".schema.json", ".avsc")
        assert json.loads(files[avro])["type"] == "record"
