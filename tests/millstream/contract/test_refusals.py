"""The vocabulary of refusals against the code that refuses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from millstream.contract.refusals import BY_NAME, OTHERS, REASONS
from millstream.errors import Stage

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("millstream", "consumers", "streams")


def _files() -> list[Path]:
    """Every file that may refuse something, but for the vocabulary itself."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if path.name != "refusals.py"]


def _texts(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _words() -> set[str]:
    """Every word of the files that could be a name."""
    words: set[str] = set()
    for path in _files():
        words.update(_texts(ast.parse(path.read_text("utf-8"))))
    return words


def _given() -> set[str]:
    """Names in calls that refuse: Refusal(row, stage, NAME, ...) and the like."""
    calls: dict[str, tuple[int, ...]] = {
        "Refusal": (2,), "RecordRefused": (1,), "_Bad": (0,), "CannotScore": (0,),
        "_refuse": (1, 2), "refuse_all": (0,),
    }  # fmt: skip
    found: set[str] = set()
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            called = node.func.attr if isinstance(node.func, ast.Attribute) else called
            places = calls.get(called, ())
            for place in places:
                for given in node.args[place : place + 1]:
                    if isinstance(given, ast.Constant) and isinstance(given.value, str):
                        found.add(given.value)
    return {name for name in found if " " not in name}


def test_every_name_that_the_code_gives_is_in_the_vocabulary() -> None:
    """Wherever it is given, somebody can look it up."""
    given = _given()
    assert len(given) > 15, given
    assert given - set(BY_NAME) - {reason.name for reason in OTHERS} == set()


def test_every_name_of_the_vocabulary_is_in_the_code() -> None:
    """None is left over."""
    assert (set(BY_NAME) | {reason.name for reason in OTHERS}) - _words() == set()


def test_names_are_told_apart_and_every_stage_that_refuses_has_some() -> None:
    """An ENCODE refusal is declared, and nothing gives one today."""
    assert len(BY_NAME) == len(REASONS)
    assert {reason.name for reason in OTHERS} & set(BY_NAME) == set()
    assert {reason.stage for reason in REASONS} == set(Stage) - {Stage.ENCODE}
