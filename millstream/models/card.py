"""The card of a bundle: what `bundle.toml` says about the model beside it.

The card is the contract between training and scoring: features in model order, what a null
means, the order of the labels. Unknown keys are refused, because a misspelt `missing` would
silently change which records are scored.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from millstream.errors import BundleInvalid

Kind = Literal["binary", "multiclass", "regression"]
FeatureType = Literal["number", "category", "boolean"]
Layout = Literal["tensor", "columns"]

# Names travel in Kafka headers, folder names and SQL: no spaces, no separators.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Feature(_Part):
    """One input of the model.

    missing: `refuse` turns a null or NaN into a dead letter; `nan` gives the model a NaN.
    missing_value: for a category, the string that a null becomes; without it a null is refused.
    """

    name: Annotated[str, Field(min_length=1)]
    type: FeatureType = "number"
    missing: Literal["refuse", "nan"] = "refuse"
    missing_value: str | None = None

    @model_validator(mode="after")
    def _missing_fits_the_type(self) -> Self:
        if self.type == "category" and self.missing == "nan":
            raise ValueError("a category has no NaN: declare missing_value instead")
        if self.type != "category" and self.missing_value is not None:
            raise ValueError("missing_value is for categories: use missing = 'nan' or 'refuse'")
        return self


class Input(_Part):
    """How rows go in: `tensor` is one [n, features] tensor called `name`; `columns` is one
    [n, 1] input per feature, each called as its feature."""

    layout: Layout
    name: str | None = None

    @model_validator(mode="after")
    def _a_tensor_has_a_name(self) -> Self:
        if (self.layout == "tensor") != (self.name is not None):
            raise ValueError("name is needed with layout 'tensor' and not allowed with 'columns'")
        return self


class Output(_Part):
    """Names of ONNX outputs. `scores`: [n, k] (or [n, 1] or [n] for binary and regression).
    `label` is there for other readers of the file: Millstream decides from the scores."""

    scores: str
    label: str | None = None


class Window(_Part):
    """The events the model was trained on: first and last event time, number of rows."""

    start: AwareDatetime
    end: AwareDatetime
    rows: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _starts_before_it_ends(self) -> Self:
        if self.start > self.end:
            raise ValueError("start is after end")
        return self


class TrainedBy(_Part):
    """The training library and its version."""

    library: str
    version: str


class Card(_Part):
    """Everything in `bundle.toml`.

    labels: class labels in the order of the model's score columns; empty for regression.
    positive, threshold: binary only; a row is `positive` when its probability >= threshold.
    opset: operator sets of the graph by domain, `ai.onnx` being the default one.
    parity_max_diff: the largest difference from the training library's own scores that was
    measured at export (absolute for probabilities, relative above 1 for regression).
    """

    name: Word
    version: Word
    digest: Digest
    kind: Kind
    labels: tuple[str, ...] = ()
    positive: str | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    opset: dict[str, int]
    created: AwareDatetime
    parity_max_diff: Annotated[FiniteFloat, Field(ge=0)] | None = None
    input: Input
    output: Output
    trained_by: TrainedBy
    window: Window | None = None
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]
    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _features_fit_the_layout(self) -> Self:
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"feature {twice[0]!r} is declared twice")
        if self.input.layout == "tensor":
            for feature in self.features:
                if feature.type == "category":
                    raise ValueError(f"a tensor of numbers cannot hold category {feature.name!r}")
        return self

    @model_validator(mode="after")
    def _labels_fit_the_kind(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds the same label twice")
        if self.kind == "binary":
            if len(self.labels) != 2 or self.positive not in self.labels or self.threshold is None:
                raise ValueError("binary needs two labels, positive (one of them) and threshold")
        elif self.positive is not None or self.threshold is not None:
            raise ValueError(f"positive and threshold are for binary, not for {self.kind}")
        elif (self.kind == "multiclass") != (len(self.labels) >= 2):
            raise ValueError("multiclass needs at least two labels, regression has none")
        return self

    @property
    def score_columns(self) -> int:
        """k: columns of the scores that Millstream publishes."""
        return len(self.labels) or 1


def read_card(text: bytes, file: Path) -> Card:
    """The card written in `text` (UTF-8 TOML). Raises BundleInvalid naming `file`."""
    try:
        raw = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleInvalid(
            f"{file} is not valid TOML: {error}", "Export the bundle again, or restore the file"
        ) from error
    return card_of(raw, file)


def card_of(raw: Mapping[str, object], file: Path) -> Card:
    """The card of what TOML gave. Raises BundleInvalid naming `file`."""
    try:
        return Card.model_validate(_lists_to_tuples(raw))
    except ValidationError as error:
        problem, remedy = _first_problem(error)
        raise BundleInvalid(f"{file}: {problem}", remedy) from error


def write_card(card: Card) -> str:
    """The card as TOML; `read_card` gives the same card back."""
    raw = card.model_dump(mode="python", exclude_none=True)
    return "\n".join(_toml_lines(raw)) + "\n"


def _lists_to_tuples(value: object) -> object:
    # TOML has arrays only and strict pydantic does not take a list for a tuple.
    if isinstance(value, list):
        return tuple(_lists_to_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return value


def _known_keys() -> set[str]:
    parts: tuple[type[_Part], ...] = (Card, Feature, Input, Output, Window, TrainedBy)
    return {key for part in parts for key in part.model_fields}


def _first_problem(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(), n=1)
        return f"unknown key {where}", (
            f"Write it as {near[0]!r}, or remove it" if near else "Remove it"
        )
    if first["type"] == "missing":
        return f"key {where} is missing", "Add it, or export the bundle again"
    what = first["msg"].removeprefix("Value error, ")
    return (f"{where}: {what}" if where else what), "Correct it, or export the bundle again"


def _toml_lines(raw: Mapping[str, object]) -> Iterator[str]:
    """Plain values first, then tables: after a table's header every key belongs to it."""
    tables = {key: value for key, value in raw.items() if _is_table(value)}
    for key, value in raw.items():
        if key not in tables:
            yield f"{_quoted(key)} = {_toml_value(value)}"
    for key, value in tables.items():
        many = isinstance(value, tuple | list)
        for table in value if many else [value]:  # type: ignore[attr-defined]
            yield ""
            yield f"[[{_quoted(key)}]]" if many else f"[{_quoted(key)}]"
            yield from (f"{_quoted(name)} = {_toml_value(item)}" for name, item in table.items())


def _is_table(value: object) -> bool:
    if isinstance(value, tuple | list):
        return len(value) > 0 and isinstance(value[0], dict)
    return isinstance(value, dict)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value, always=True)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return value.isoformat()  # type: ignore[attr-defined, no-any-return]


def _quoted(text: str, always: bool = False) -> str:
    bare = text.isascii() and text.replace("_", "").replace("-", "").isalnum()
    if bare and not always:
        return text
    # A JSON string is a TOML basic string, but for the delete character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
