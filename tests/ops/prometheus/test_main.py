"""What lies in the repository is what the code makes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from millstream.cli import app
from millstream.settings import known_variables
from ops.prometheus.__main__ import DOCS, files
from ops.prometheus.rules import ALERTS


@pytest.mark.parametrize("path", sorted(files()), ids=lambda path: str(path.name))
def test_a_file_is_as_it_is_made(path: Path) -> None:
    """Else run `python -m ops.prometheus`."""
    assert path.read_text("utf-8") == files()[path]


def _commands() -> set[str]:
    group = typer.main.get_command(app)
    names = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names.add(name)
        names |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return names


def test_what_the_alerts_tell_to_run_and_set_is_there() -> None:
    """Every command and every variable that a person is sent to."""
    commands, variables = _commands(), known_variables()
    for alert in ALERTS:
        for words in re.findall(r"`millstream ([a-z]+(?: [a-z]+)?)`", alert.act):
            assert words in commands, alert.name
        for variable in re.findall(r"MILLSTREAM_[A-Z_]+", alert.act):
            assert variable in variables, alert.name


def test_what_the_docs_tell_to_set_is_there() -> None:
    """Every variable of the page."""
    named = set(re.findall(r"\bMILLSTREAM_[A-Z_]+[A-Z]\b", DOCS.read_text("utf-8")))
    assert named <= set(known_variables())
    assert "MILLSTREAM_METRICS_PORT" in named
