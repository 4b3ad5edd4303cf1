"""`millstream contract`, as a producer's team runs it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from millstream.cli import app
from tests.streams import LOANS, applications, framed, make_loans

STREAM = str(LOANS / "stream.toml")


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    result = CliRunner().invoke(app, ["contract", *arguments])
    return result.exit_code, result.output


def test_what_is_written_is_found_unchanged(tmp_path: Path) -> None:
    """And a file that was edited by hand is named, with exit code 1."""
    code, said = run("make", STREAM, "--to", str(tmp_path))
    assert (code, said.startswith("wrote ")) == (0, True), said
    assert run("make", STREAM, "--to", str(tmp_path), "--check")[0] == 0
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 2.0.0\n")
    code, said = run("make", STREAM, "--to", str(tmp_path), "--check")
    assert (code, said.splitlines()[0]) == (1, "asyncapi.yaml differs")


def test_the_document_is_printed(tmp_path: Path) -> None:
    """As the file has it."""
    code, said = run("asyncapi", STREAM)
    assert code == 0
    assert said == (LOANS / "contract" / "asyncapi.yaml").read_text("utf-8")


def test_records_are_judged(tmp_path: Path) -> None:
    """Exit code 0 if all would be scored, 1 if not."""
    (value,) = framed(applications(1), 3)
    code, said = run("check", STREAM, value.hex())
    assert (code, said.splitlines()[-1]) == (0, "1 scored, 0 refused")
    code, said = run("check", STREAM, value.hex(), "--schema-id", "4")
    assert code == 1
    assert said.startswith("value: refused: frame: unknown_schema_id: schema id 3 is not")
    file = tmp_path / "events.jsonl"
    file.write_text('{"age": 3}\n')
    code, said = run("check", STREAM, str(file))
    assert code == 1
    assert said.splitlines()[0] == "line 1: no event: field application_id is missing"


def test_the_committed_kit_has_its_verdicts(tmp_path: Path) -> None:
    """The kit through the command says of each case what the kit says."""
    file = LOANS / "contract" / "kit" / "events.json"
    kit = json.loads(file.read_text("utf-8"))
    code, said = run("check", STREAM, str(file), "--schema-id", str(kit["schema_id"]))
    assert code == 1
    lines = dict(line.split(": ", 1) for line in said.splitlines()[:-1])
    for case in kit["cases"]:
        if case["verdict"] == "refused":
            wanted = f"refused: {case['stage']}: {case['error']}: {case['reason']}"
        else:
            wanted = f"scored: id {case['id']}, key {case['key']}, partition {case['partition']}"
        assert lines[case["name"]] == wanted


def test_a_model_may_be_asked(tmp_path: Path) -> None:
    """Its score is told."""
    make_loans(tmp_path)
    (value,) = framed(applications(1), 3)
    code, said = run("check", STREAM, value.hex(), "--bundle", str(tmp_path / "bundle"))
    assert code == 0, said
    assert ", score 0." in said
