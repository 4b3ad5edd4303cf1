"""golden.json: rows with the training library's own scores, so that parity can be shown again
where that library is not installed.

Numbers are written so that they come back to the bit; NaN and the infinities as text, because JSON
has no word for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from millstream.errors import BundleInvalid
from millstream.models.bundle import read_file
from millstream.models.card import Card, FeatureType
from millstream.models.durable import write_whole

GOLDEN_FILE = "golden.json"
GOLDEN_BYTES_MAX = 64 << 20
CELLS_MAX = 400_000
"""Rows times features that are kept."""

Floats = npt.NDArray[np.float64]
RowKind = Literal["ordinary", "near", "threshold", "nan", "infinite", "extreme", "unseen"]
HOSTILE: tuple[RowKind, ...] = ("threshold", "nan", "infinite", "extreme", "unseen")
_TYPES: dict[FeatureType, pa.DataType] = {
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
}
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Golden:
    """n rows. batch: the features, as doubles, texts and truths. kinds: what each row tries.
    scores: [n, k] the library's, NaN where it has no answer. refused: the name of the refusal with
    which the bundle answers each row, None where it scores it.
    """

    batch: pa.RecordBatch
    kinds: tuple[RowKind, ...]
    scores: Floats
    refused: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def rows_of(self, *kinds: RowKind) -> npt.NDArray[np.int64]:
        """Positions of the rows of these kinds."""
        return np.flatnonzero([kind in kinds for kind in self.kinds])

    def take(self, rows: npt.NDArray[np.int64]) -> Golden:
        """These rows, in this order."""
        return Golden(
            self.batch.take(pa.array(rows)),
            tuple(self.kinds[row] for row in rows),
            self.scores[rows],
            tuple(self.refused[row] for row in rows),
        )

    def encoded(self) -> bytes:
        """The file's bytes."""
        columns = {
            name: [_cell(value) for value in self.batch.column(name).to_pylist()]
            for name in self.batch.schema.names
        }
        scores = [[_cell(float(value)) for value in row] for row in self.scores]
        fields = {
            "format": 1,
            "columns": columns,
            "kinds": self.kinds,
            "scores": scores,
            "refused": self.refused,
        }
        return json.dumps(fields, allow_nan=False).encode() + b"\n"

    def save(self, folder: Path) -> Path:
        """Write it into a bundle's folder, all of it or nothing."""
        write_whole(folder / GOLDEN_FILE, self.encoded())
        return folder / GOLDEN_FILE


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    columns: dict[str, Annotated[list[float | str | bool | None], Field(max_length=CELLS_MAX)]]
    kinds: Annotated[list[str], Field(min_length=1, max_length=CELLS_MAX)]
    scores: list[list[float | str]]
    refused: list[str | None]


def read_golden(folder: Path, card: Card) -> tuple[Golden, bytes]:
    """The rows beside a bundle's card, and the file's bytes.

    Raises BundleInvalid where the file is missing, too large, damaged, or of other features.
    """
    file = folder / GOLDEN_FILE
    content = read_file(file, GOLDEN_BYTES_MAX)
    remedy = "Copy the whole bundle again, or make it again with its golden rows"
    try:
        found = _File.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleInvalid(f"{file}: {where}: {first['msg']}", remedy) from None
    try:
        return _golden(found, card), content
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise BundleInvalid(f"{file}: {' '.join(str(error).split())[:200]}", remedy) from None


def plain(columns: Any, card: Card) -> pa.RecordBatch:
    """The card's features of an Arrow batch or table as doubles, texts and truths.

    Raises BundleInvalid where a column is missing or is of another kind.
    """
    arrays = []
    for feature in card.features:
        place = columns.schema.get_field_index(feature.name)
        if place < 0:
            raise BundleInvalid(
                f"the rows have no column {feature.name!r}", "Give all of the card's features"
            )
        column = columns.column(place)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
        try:
            arrays.append(pc.cast(column, _TYPES[feature.type], safe=False))
        except pa.ArrowException as error:
            raise BundleInvalid(
                f"column {feature.name!r} is {column.type}, the card says {feature.type}",
                "Give rows like those of the stream",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, names=[feature.name for feature in card.features])


def schema_of(card: Card) -> pa.Schema:
    """The schema of `plain`'s batches."""
    return pa.schema([(feature.name, _TYPES[feature.type]) for feature in card.features])


def _golden(found: _File, card: Card) -> Golden:
    schema, count = schema_of(card), len(found.kinds)
    if set(found.columns) != set(schema.names):
        raise ValueError("its columns are not the card's features")
    unknown = set(found.kinds) - set(get_args(RowKind))
    if unknown:
        raise ValueError(f"it has rows of kind {min(unknown)}")
    lengths = {len(found.scores), len(found.refused), *(map(len, found.columns.values()))}
    if lengths != {count} or {len(row) for row in found.scores} != {card.score_columns}:
        raise ValueError("its columns do not all have the same number of rows")
    arrays = [
        pa.array(_values(found.columns[field.name], field.type), field.type) for field in schema
    ]
    scores = np.array([_values(row, pa.float64()) for row in found.scores], np.float64)
    kinds: Any = tuple(found.kinds)
    return Golden(
        pa.RecordBatch.from_arrays(arrays, schema=schema), kinds, scores, tuple(found.refused)
    )


def _values(cells: Sequence[float | str | bool | None], kind: pa.DataType) -> list[Any]:
    if kind != pa.float64():
        return list(cells)
    return [_WORDS[cell] if isinstance(cell, str) and cell in _WORDS else cell for cell in cells]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
