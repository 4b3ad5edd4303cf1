"""The pages of the commands."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from millstream.cli import app
from ops.docs.commands import Command, command_pages, commands

COMMANDS = commands()
PAGES = command_pages()


def test_every_command_has_a_page() -> None:
    """Those of groups too, and the index names each."""
    titles = {each.title for each in COMMANDS}
    assert {"millstream score", "millstream letters redrive", "millstream contract check"} <= titles
    assert set(PAGES) == {each.page for each in COMMANDS} | {"commands/index.md"}
    assert all(f"`{title}`" in PAGES["commands/index.md"] for title in titles)


@pytest.mark.parametrize("each", COMMANDS, ids=lambda each: each.title)
def test_a_page_says_what_help_says(each: Command) -> None:
    """Every option, and an example of every command."""
    helped = CliRunner().invoke(app, [*each.words, "--help"], env={"COLUMNS": "200"})
    assert helped.exit_code == 0
    page = PAGES[each.page]
    assert page.startswith(f"# {each.title}\n")
    if each.is_group:
        return
    assert f"```sh\n{each.title}" in page, "the docstring has no line that begins with Example:"
    for parameter in each.command.params:
        for name in parameter.opts:
            if name.startswith("--"):
                assert name in page
