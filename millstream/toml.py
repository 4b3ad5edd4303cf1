"""Read TOML into a pydantic model, so that a person can act on what is wrong with it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from millstream.errors import OperatorNeeded, StreamInvalid

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, error: type[OperatorNeeded] = StreamInvalid) -> dict[str, Any]:
    """The file as a dict. Raises `error` where it is missing or not TOML."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise error(f"{path} does not exist", "Give the path of an existing file") from None
    except (OSError, UnicodeDecodeError) as why:
        raise error(f"{path} cannot be read: {why}", "Give a readable UTF-8 file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise error(f"{path} is not TOML: {why}", "Mend that line") from None


def parse(
    model: type[Model], values: Mapping[str, Any], where: str, error: type[OperatorNeeded]
) -> Model:
    """Validate `values`; all problems in one line, an unknown key with the nearest known one."""
    try:
        return model.model_validate(values)
    except ValidationError as why:
        lines = [_line(model, problem) for problem in why.errors(include_url=False)]
        raise error(f"{where}: " + "; ".join(lines), "Mend what is named") from None


def nearest(word: str, known: Iterator[str] | list[str]) -> str:
    """' (did you mean X?)' for the known word nearest to `word`, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def _line(model: type[BaseModel], problem: Any) -> str:
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path) or "the file"
    if problem["type"] == "extra_forbidden":
        owner = _owner(model, path[:-1])
        hint = nearest(path[-1], _keys(owner)) if owner else ""
        return f"unknown key {name}{hint}"
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def _keys(model: type[BaseModel]) -> list[str]:
    """What may be written: the alias where a field has one."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _owner(model: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """The model class at `path` below `model`, if it is one.

    A number is a place in an array of tables; a word that is no key of it is the kind of a table.
    """
    found = [model]
    for part in path:
        if part.isdigit():
            continue
        kinds = [each for each in found if part in _kinds(each)]
        if kinds:
            found = kinds
            continue
        known = {field.alias or name: field for name, field in found[0].model_fields.items()}
        found = _models(known[part].annotation) if part in known else []
        if not found:
            return None
    return found[0] if len(found) == 1 else None


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """What its field `kind` may be."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Every model class in a type, such as those of tuple[A | B, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
