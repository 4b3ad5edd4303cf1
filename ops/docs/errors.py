"""A page for each kind of error and each reason of a refusal, made of the code that raises them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final

from millstream.contract.refusals import OTHERS, REASONS, Reason
from millstream.errors import DependencyUnavailable, MillstreamError, OperatorNeeded
from ops.docs.text import cell

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("millstream", "consumers", "streams", "ops")
NOT_FOR_OPERATORS: Final = (
    "ops/bench/",
    "ops/fuzz/",
    "ops/soak/",
    "ops/faults/",
    "ops/docs/",
    "millstream/doubles/",
)
NEXT: Final = {
    0: "",
    2: "The program does not start, and has changed nothing. Do what its second line says, then "
    "start it again; a supervisor may try again by itself, and hears the same until then.",
    3: "A supervisor starts the program again. Nothing is lost: what was not committed is read "
    "again.",
    4: "A supervisor must **not** start the program again by itself: each start could make it "
    "worse.",
}
"""Exit code -> what follows."""
_NO_NAMES: Final = {
    "self", "str", "repr", "len", "join", "sorted", "error", "why", "and", "or", "not", "if",
    "else", "for", "in", "end", "raw", "value",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A place where an error is raised: what it says, with {name} for what varies."""

    problem: str
    remedy: str
    file: str


@cache
def _trees() -> dict[str, ast.Module]:
    """File -> its syntax tree, of all that an operator may meet."""
    return {
        name: ast.parse(path.read_text("utf-8"))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith(NOT_FOR_OPERATORS)
    }


@cache
def kinds() -> tuple[type[MillstreamError], ...]:
    """Every error that a person may read, but for refusals, wherever it is declared."""
    declared = [
        (file, node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for file, tree in _trees().items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    found: dict[str, type[MillstreamError]] = {
        each.__name__: each for each in (OperatorNeeded, DependencyUnavailable)
    }
    before = 0
    while len(found) > before:
        before = len(found)
        for file, name, bases in declared:
            if name not in found and bases & found.keys():
                module = import_module(file.removesuffix(".py").replace("/", "."))
                found[name] = getattr(module, name)
    return tuple(sorted(found.values(), key=lambda each: (each.exit_code, each.__name__)))


def sites() -> dict[str, list[Site]]:
    """Class name -> every place of the code that raises it."""
    names = {each.__name__ for each in kinds()}
    found: dict[str, list[Site]] = {name: [] for name in names}
    everywhere: dict[str, ast.expr] = {}
    for tree in _trees().values():  # a constant may be another module's
        everywhere |= _constants(tree)
    for name, tree in _trees().items():
        for kind, site in _sites_in(tree, name, names, everywhere | _constants(tree)):
            if site not in found[kind]:
                found[kind].append(site)
    return found


def error_pages() -> dict[str, str]:
    """File in the site -> Markdown."""
    pages = {"errors/index.md": _index()}
    found = sites()
    for kind in kinds():
        pages[f"errors/{kind.__name__}.md"] = _kind_page(kind, found[kind.__name__])
    for reason in REASONS:
        pages[f"errors/refused/{reason.name}.md"] = _reason_page(reason)
    for reason in OTHERS:
        pages[f"errors/refused/{reason.name}.md"] = "\n".join(_refused(reason))
    return pages


def _index() -> str:
    lines = [
        "# Errors",
        "",
        "An error's name says who must act. What a program says last, on standard error, is the "
        "thing and below it the remedy.",
        "",
        "## Programs and commands",
        "",
        "| error | exit code | |",
        "|---|---:|---|",
    ]
    for kind in kinds():
        name = kind.__name__
        lines.append(f"| [{name}]({name}.md) | {kind.exit_code} | {_first(kind)} |")
    lines += [
        "",
        "Anything else is a bug, and ends with a traceback.",
        "",
        "## Refused events",
        "",
        "One event is bad: it becomes a dead letter, its neighbours go on.",
        "",
        "| stage | name | what was found |",
        "|---|---|---|",
    ]
    lines += [_row(reason) for reason in REASONS]
    lines += [
        "",
        "## What else is refused",
        "",
        "Rows and records that are no events: no dead letter is made of them.",
        "",
        "| stage | name | what was found |",
        "|---|---|---|",
        *(_row(reason) for reason in OTHERS),
    ]
    return "\n".join(lines) + "\n"


def _row(reason: Reason) -> str:
    return f"| {reason.stage} | [{reason.name}](refused/{reason.name}.md) | {reason.means} |"


def _first(kind: type[MillstreamError]) -> str:
    return (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")


def _kind_page(kind: type[MillstreamError], found: list[Site]) -> str:
    lines = [
        f"# {kind.__name__}", "", _first(kind), "",
        f"Exit code {kind.exit_code}. {NEXT.get(kind.exit_code, '')}", "",
    ]  # fmt: skip
    titles = ("it says", "what to do")
    if issubclass(kind, OperatorNeeded):
        lines += ["What it says, and what to do; {name} stands for what varies.", ""]
    else:
        titles = ("what", "it says of it")
        lines += [
            "What does not answer stands first. Start it, or correct its address "
            "(`millstream settings` lists the variables), or look at the network between.",
            "",
        ]
    for file in dict.fromkeys(site.file for site in found):
        lines += [f"## {cell(file)}", "", f"| {titles[0]} | {titles[1]} |", "|---|---|"]
        mine = [site for site in found if site.file == file]
        lines += [f"| {cell(site.problem)} | {cell(site.remedy)} |" for site in mine]
        lines += [""]
    return "\n".join(lines)


def _refused(reason: Reason) -> list[str]:
    return [
        f"# Refused: {reason.name}",
        "",
        f"Stage **{reason.stage}**: {reason.means}.",
        "",
        "## What to do",
        "",
        f"{reason.mend}.",
        "",
    ]


def _reason_page(reason: Reason) -> str:
    again = (
        "Once it is mended, the same bytes can be scored: `millstream letters redrive STREAM.TOML "
        f"--error {reason.name}`."
        if reason.replay
        else "The same bytes stay wrong: publish the event again, mended."
    )
    return "\n".join(
        [
            *_refused(reason),
            again,
            "",
            "## To look at one",
            "",
            "```sh",
            f"millstream letters list STREAM.TOML --error {reason.name}",
            "millstream letters show STREAM.TOML PARTITION:OFFSET",
            "```",
            "",
            "`millstream contract check STREAM.TOML FILE` says the same of bytes that are not "
            "published yet.",
            "",
        ]
    )


def _sites_in(
    tree: ast.Module, file: str, names: set[str], constants: dict[str, ast.expr]
) -> Iterator[tuple[str, Site]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in names and len(node.args) >= 2:
            problem, remedy = (_text(each, constants) for each in node.args[:2])
            if problem and remedy:
                yield node.func.id, Site(problem, remedy, file)


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Name -> value of a module's constants."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in _targets(node)
        if target.id.isupper()
    }


def _targets(node: ast.stmt) -> list[ast.Name]:
    if isinstance(node, ast.Assign):
        return [each for each in node.targets if isinstance(each, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target]
    return []


def _text(node: ast.AST, constants: dict[str, ast.expr]) -> str:
    """What the expression says; {name} for what varies, empty where all of it does."""
    said = ""
    match node:
        case ast.Constant():
            said = str(node.value)
        case ast.JoinedStr():
            said = "".join(_part(part, constants) for part in node.values)
        case ast.BinOp(op=ast.Add()):
            said = _text(node.left, constants) + _text(node.right, constants)
        case ast.IfExp():
            either = (_text(each, constants) for each in (node.body, node.orelse))
            said = " / ".join(each for each in either if each)
        case ast.Name() if node.id in constants:
            said = _text(constants[node.id], {})
    return said


def _part(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    """A piece of an f-string: its text, a constant's, or {word}, the last name in it."""
    if not isinstance(node, ast.FormattedValue):
        return _text(node, constants)
    if isinstance(node.value, ast.Name):
        constant = _text(node.value, constants)
        if constant:
            return constant
    words = re.findall(r"[A-Za-z]\w*", ast.unparse(node.value))
    plain = [word.strip("_") for word in words if word not in _NO_NAMES]
    return f"{{{plain[-1] if plain else 'reason'}}}"
