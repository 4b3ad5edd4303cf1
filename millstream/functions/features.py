"""Rows of features as ClickHouse writes a tuple, to the columns that an event of them would have.

`(20000,0,'red',NULL)`: numbers as they print, which reads back to the same bits; texts and
symbols in quotes, with backslashes. Each cell becomes what the event schema says of its field, by
the rules by which files become events (sources/cells.py), so a model sees of a row what it would
see of the event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.schema import parse_record
from millstream.errors import Refusal, Stage
from millstream.sources.cells import Target, convert, unfit_cells
from millstream.stream import Stream

_CELL: Final = re.compile(r"\s*(?:'((?:[^'\\]|\\.|'')*)'|([^'(),\[\]]*?))\s*(,|$)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a",
                   "v": "\v"}  # fmt: skip
_NULL: Final = "NULL"


class _NoTuple(ValueError):
    """Why a text is not a tuple of that many cells."""


@dataclass(frozen=True, slots=True)
class Read:
    """The rows that can be read of n: their columns, their positions ascending; why not the rest.

    The columns are `features.order` in the types of the event schema.
    """

    columns: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    refusals: list[Refusal]


class FeatureRows:
    """Reads rows of one stream's features."""

    def __init__(self, stream: Stream) -> None:
        fields = {field.name: field for field in parse_record(stream.schema_of_event.text).fields}
        self._targets = [Target.of(fields[name]) for name in stream.features.order]

    def read(self, texts: Sequence[bytes]) -> Read:
        """One row of each text. What is no tuple, or does not fit the event schema, is refused."""
        refusals: list[Refusal] = []
        kept: list[int] = []
        cells: list[list[str | None]] = []
        for row, text in enumerate(texts):
            try:
                cells.append(_cells(text, len(self._targets)))
            except _NoTuple as why:
                refusals.append(Refusal(row, Stage.DECODE, "no_features", str(why)))
                continue
            kept.append(row)
        rows = np.array(kept, np.int64)
        columns = [list(column) for column in zip(*cells, strict=True)]
        columns = columns or [[] for _ in self._targets]
        unfit = self._unfit(columns)
        if unfit:
            refusals += [Refusal(int(rows[at]), Stage.DECODE, "unfit_value", unfit[at])
                         for at in sorted(unfit)]  # fmt: skip
            good = [at for at in range(len(kept)) if at not in unfit]
            rows, columns = rows[good], [[column[at] for at in good] for column in columns]
        arrays = [
            convert(pa.array(column, pa.string()), target)
            for target, column in zip(self._targets, columns, strict=True)
        ]
        names = [target.name for target in self._targets]
        return Read(pa.RecordBatch.from_arrays(arrays, names=names), rows, refusals)

    def _unfit(self, columns: list[list[str | None]]) -> dict[int, str]:
        """Why, by place; the first field's reason stands."""
        found: dict[int, str] = {}
        for target, column in zip(self._targets, columns, strict=True):
            cells = pa.array(column, pa.string())
            for at, why in unfit_cells(cells, target, empty_is_null=False, private=True):
                found.setdefault(at, f"field {target.name}: {why}")
        return found


def _cells(text: bytes, width: int) -> list[str | None]:
    """The cells of one tuple; None for a null. Raises _NoTuple, never quoting the text."""
    if text[:1] != b"(" or text[-1:] != b")":
        raise _NoTuple("the features are no tuple: write (a, b, c), or tuple(a) for one")
    try:
        inner = text[1:-1].decode()
    except UnicodeDecodeError:
        raise _NoTuple("a text among the features is not UTF-8") from None
    found: list[str | None]
    if "'" not in inner and "(" not in inner and "[" not in inner:
        found = [None if cell == _NULL else cell for cell in inner.split(",")]
    else:
        found = _quoted(inner)
    if width == 1 and len(found) == 2 and found[1] == "":
        found.pop()  # (1,)
    if len(found) != width:
        raise _NoTuple(f"{len(found)} features are given, the stream has {width}")
    return found


def _quoted(inner: str) -> list[str | None]:
    found: list[str | None] = []
    place = 0
    while True:
        match = _CELL.match(inner, place)
        if match is None:
            raise _NoTuple("a feature is neither a number nor a text")
        quoted, bare, end = match.groups()
        if quoted is None:
            found.append(None if bare == _NULL else bare)
        else:
            found.append(_ESCAPE.sub(_unescaped, quoted))
        place = match.end()
        if not end:
            return found


def _unescaped(match: re.Match[str]) -> str:
    letter = match[1]
    return "'" if letter is None else _ESCAPED.get(letter, letter)
