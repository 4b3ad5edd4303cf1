"""The cookbook: questions that analysts ask, each with its SQL in a file cookbook/NAME.sql.

A file begins with comments of the form `-- title: ...`, `-- question: ...` and one
`-- parameter: NAME TYPE = DEFAULT: what it is` for each parameter; without `= DEFAULT` it must be
given. Below them stands one SELECT, in which a parameter is written {NAME:TYPE}, as ClickHouse
binds them. Tables stand without their database: it is the stream's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from millstream.errors import OperatorNeeded
from millstream.toml import nearest

FOLDER = Path(__file__).resolve().parent / "cookbook"
_HEAD = re.compile(r"-- (title|question|parameter): (.*)")
_USED = re.compile(r"\{(\w+):\s*(\w+)\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """kind: ClickHouse's type, or Identifier for a column. default: None where one must be given.
    about: what it is."""

    name: str
    kind: str
    default: str | None
    about: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """One question of the cookbook."""

    name: str
    title: str
    question: str
    parameters: tuple[Parameter, ...]
    sql: str

    def bind(self, given: Mapping[str, str]) -> dict[str, str]:
        """Parameter -> its value as text. Raises OperatorNeeded for one that is unknown, or that
        is missing."""
        known = [each.name for each in self.parameters]
        for name in given:
            if name not in known:
                raise OperatorNeeded(
                    f"{self.name} has no parameter {name}{nearest(name, known)}",
                    f"Its parameters: {', '.join(known) or 'none'}",
                )
        bound = {}
        for each in self.parameters:
            value = given.get(each.name, each.default)
            if value is None:
                raise OperatorNeeded(
                    f"{self.name} needs {each.name}: {each.about}", f"Write {each.name}=..."
                )
            bound[each.name] = value
        return bound


@cache
def cookbook() -> dict[str, Recipe]:
    """Every recipe by its name, in order. Raises ValueError where a file is no recipe."""
    paths = sorted(FOLDER.glob("*.sql"))
    return {path.stem: parse(path.stem, path.read_text("utf-8")) for path in paths}


def recipe(name: str) -> Recipe:
    """One by its name. Raises OperatorNeeded where there is none."""
    known = cookbook()
    if name not in known:
        raise OperatorNeeded(
            f"the cookbook has no {name}{nearest(name, list(known))}",
            "millstream sql STREAM.TOML --list shows what it has",
        )
    return known[name]


def parse(name: str, text: str) -> Recipe:
    """A recipe from its file's text. Raises ValueError where it is none."""
    said: dict[str, str] = {}
    parameters: list[Parameter] = []
    lines = text.splitlines()
    while lines and (head := _HEAD.fullmatch(lines[0])):
        if head[1] == "parameter":
            parameters.append(_parameter(name, head[2]))
        else:
            said[head[1]] = head[2].strip()
        del lines[0]
    sql = "\n".join(lines).strip()
    declared = {(each.name, each.kind) for each in parameters}
    used = set(_USED.findall(sql))
    if set(said) != {"title", "question"} or not sql:
        raise ValueError(f"{name}: a recipe has a title, a question and one SELECT")
    if declared != used:
        raise ValueError(f"{name}: declares {sorted(declared)}, uses {sorted(used)}")
    return Recipe(name, said["title"], said["question"], tuple(parameters), sql)


def _parameter(name: str, text: str) -> Parameter:
    """NAME TYPE: ABOUT, or NAME TYPE = DEFAULT: ABOUT. A default may have colons but no ": "."""
    head, found, about = text.partition(": ")
    parts = re.fullmatch(r"(\w+) (\w+)(?: = ?(.*))?", head)
    if not found or parts is None:
        raise ValueError(f"{name}: no parameter: {text}")
    return Parameter(parts[1], parts[2], parts[3], about)
