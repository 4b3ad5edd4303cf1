"""A page for each command, made of the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.main import get_command

from millstream.cli import app
from ops.docs.text import cell, escaped

PROGRAM = "millstream"


@dataclass(frozen=True, slots=True)
class Command:
    """words: behind the program's name. command, context: Click's. is_group: has commands below."""

    words: tuple[str, ...]
    command: Any
    context: Any
    is_group: bool

    @property
    def page(self) -> str:
        """Its file in the site."""
        return f"commands/{'-'.join(self.words)}.md"

    @property
    def title(self) -> str:
        """As it is typed."""
        return f"{PROGRAM} {' '.join(self.words)}"

    @property
    def summary(self) -> str:
        """The first sentence of its help."""
        return (self.command.help or "").strip().partition("\n")[0]


def commands() -> list[Command]:
    """Every command and group, in the order of --help, a group before its commands."""
    root: Any = get_command(app)
    return list(_below((), root, root.context_class(root, info_name=PROGRAM)))


def command_pages() -> dict[str, str]:
    """File in the site -> Markdown."""
    found = commands()
    rows = [
        f"| [`{each.title}`]({each.page.removeprefix('commands/')}) | {cell(each.summary)} |"
        for each in found
    ]
    index = [
        "# Commands",
        "",
        "Exit codes: 0 done, 1 a check failed, 2 a person must act, 3 a dependency failed (start "
        "it again), 4 a person must act and starting it again would do harm, 130 Ctrl-C. What each "
        "error asks for: [Errors](../errors/index.md).",
        "",
        "| command | |",
        "|---|---|",
        *rows,
    ]
    return {"commands/index.md": "\n".join(index) + "\n"} | {
        each.page: _page(each) for each in found
    }


def _below(words: tuple[str, ...], group: Any, context: Any) -> Iterator[Command]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        inner = command.context_class(command, info_name=name, parent=context)
        is_group = hasattr(command, "commands")
        yield Command((*words, name), command, inner, is_group)
        if is_group:
            yield from _below((*words, name), command, inner)


def _page(each: Command) -> str:
    lines = [f"# {each.title}", ""]
    if each.is_group:
        lines += [each.summary, "", "| command | |", "|---|---|"]
        lines += [
            f"| [`{one.title}`]({one.page.removeprefix('commands/')}) | {cell(one.summary)} |"
            for one in _below(each.words, each.command, each.context)
        ]
        return "\n".join(lines) + "\n"
    usage = " ".join(each.command.collect_usage_pieces(each.context))
    lines += [*_help(each.command.help or ""), "", "## Usage", ""]
    lines += ["```text", f"{each.title} {usage}", "```", ""]
    for kind, title in (("argument", "Arguments"), ("option", "Options")):
        rows = list(_rows(each, kind))
        if rows:
            lines += [f"## {title}", "", "| | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _help(text: str) -> Iterator[str]:
    """Its paragraphs; an example is a block of its own."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        if lines[0].startswith("Example: "):
            yield from ("```sh", lines[0].removeprefix("Example: "), *lines[1:], "```", "")
        else:
            yield from (escaped(" ".join(lines)), "")


def _rows(each: Command, kind: str) -> Iterator[str]:
    for parameter in each.command.get_params(each.context):
        if parameter.param_type_name != kind:
            continue
        record = parameter.get_help_record(each.context)
        if record is not None:
            name, said = record
            yield f"| `{name.strip()}` | {cell(said)} |"
