"""What could come next in a statement: tables, columns, functions, keywords, recipes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

KEYWORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "LIMIT 1 BY", "WITH"),
    *("AS", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "IS NULL", "IS NOT NULL", "DISTINCT"),
    *("LEFT JOIN", "INNER JOIN", "ASOF LEFT JOIN", "USING", "ON", "UNION ALL", "ARRAY JOIN"),
    *("DESC", "ASC", "OVER", "PARTITION BY", "INTERVAL", "SETTINGS", "EXPLAIN", "SHOW TABLES"),
    *("DESCRIBE TABLE",),
)
COMMANDS = {
    "\\c": "run a recipe of the cookbook: \\c NAME [PARAMETER=VALUE ...]",
    "\\d": "tables and views, or the columns of one: \\d [TABLE]",
    "\\f": "how answers are shown: \\f table, csv or json",
    "\\l": "the cookbook",
    "\\q": "leave",
    "\\?": "this list",
}
FORMATS = ("table", "csv", "json")
COMPLETIONS_MAX = 200

_WORD = re.compile(r"[\w\\?.`]*$")
_TABLE_NEXT = re.compile(r"\b(?:FROM|JOIN|TABLE|DESCRIBE|DESC)\s+[\w.]*$", re.IGNORECASE)
_TABLES = re.compile(r"\b(?:FROM|JOIN)\s+(?:\w+\.)?(\w+)(?:\s+(?:AS\s+)?(\w+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of a database. columns: table -> column -> its comment. about: table -> its
    comment."""

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    functions: Sequence[str] = ()
    recipes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """text: takes the place of the `back` characters before the cursor. about: what it is."""

    text: str
    back: int
    about: str


def completions(before: str, words: Words) -> list[Completion]:
    """What could stand at the cursor, the likeliest first; `before`: the text up to it."""
    line = before.rpartition("\n")[2]
    found = _WORD.search(before)
    assert found is not None
    typed = found.group()
    if line.lstrip().startswith("\\"):
        return _of_command(line.lstrip(), words)
    if "." in typed:
        table, _, start = typed.rpartition(".")
        return list(_from(_named(table, before, words), start))
    if _TABLE_NEXT.search(before):
        return list(_from(words.about, typed))
    if not typed:
        return []
    mentioned = {name for name, _ in _TABLES.findall(before)}
    columns: dict[str, str] = {}
    for table in mentioned & set(words.columns) or words.columns:
        for name, about in words.columns[table].items():
            columns.setdefault(name, about)
    keywords = dict.fromkeys(KEYWORDS, "")
    functions = dict.fromkeys(words.functions, "function")
    every = (columns, words.about, keywords, functions)
    ordered = [each for known in every for each in _from(known, typed)]
    return ordered[:COMPLETIONS_MAX]


def _of_command(line: str, words: Words) -> list[Completion]:
    """`\\c NA` -> recipes; `\\d ta` -> tables; a lone `\\` -> the commands."""
    command, blank, rest = line.partition(" ")
    if not blank:
        return list(_from(COMMANDS, command))
    known = {"\\c": words.recipes, "\\d": words.about, "\\f": dict.fromkeys(FORMATS, "")}
    return [] if " " in rest else list(_from(known.get(command, {}), rest))


def _named(table: str, before: str, words: Words) -> Mapping[str, str]:
    """The columns of a table, or of what has that alias in the statement."""
    aliases = {alias: name for name, alias in _TABLES.findall(before) if alias}
    name = table.rpartition(".")[2]
    return words.columns.get(aliases.get(name, name), {})


def _from(known: Mapping[str, str], start: str) -> Iterator[Completion]:
    """Those that begin so, in whatever case; then those that have it within."""
    low = start.lower()
    names = sorted(known, key=lambda name: (not name.lower().startswith(low), name.lower()))
    for name in names:
        if low in name.lower():
            yield Completion(name, len(start), known[name])
