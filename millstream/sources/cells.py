"""Cells of a file as the Arrow column of one event field, or the reason why one does not fit.

A column is converted whole; where that fails, halves are tried until single cells are left, so a
cell means the same alone as among ten thousand. What fits what:

    field          text (CSV, strings)                 typed (Parquet, JSON)
    int, long      37, +37, 37.0                       whole numbers in range
    float, double  1.5, 1e3, nan, inf                  numbers
    boolean        true, false, 1, 0                   booleans, 0 and 1
    string, enum   as it is                            strings, whole numbers, booleans
    timestamp      ISO 8601 (no zone is UTC), epoch    timestamps, dates, epoch (whole numbers)

Epochs are in the unit of the field's logical type; finer digits of a time are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millstream.columnar.schema import MISSING, Enum, Field, Union, column_field

Cells: TypeAlias = "pa.Array | list[Any]"
"""One column: an Arrow array, or Python values as JSON gives them."""

_SHOWN_CHARACTERS: Final = 40
_ZONE = r"[Tt ].*([Zz]|[+-]\d\d(:?\d\d)?)$"
_NOT_CONVERTED = (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError)
_PYTHON_TYPES: Final = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    type(None): pa.null(),
}


class Unfit(ValueError):
    """A cell that does not fit its field; the text says why, without the cell."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a column becomes: the Arrow field, the symbols of an enum, the Avro default."""

    field: Any
    symbols: tuple[str, ...] | None
    default: Any

    @classmethod
    def of(cls, field: Field) -> Target:
        inner = field.type.inner if isinstance(field.type, Union) else field.type
        symbols = inner.symbols if isinstance(inner, Enum) else None
        column = column_field(field.name, field.type)
        default = field.default
        if isinstance(default, str) and not pa.types.is_string(column.type):
            default = default.encode("latin-1")  # how Avro writes bytes in JSON
        return cls(column, symbols, default)

    @property
    def name(self) -> str:
        return str(self.field.name)

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING


def convert(cells: Cells, target: Target, *, empty_is_null: bool = False) -> Any:
    """The column as an array of exactly `target.field.type`, as long as `cells`.

    empty_is_null: an empty text is null where the field may be null (CSV has no other null).
    Raises one of ArrowException, ValueError, TypeError, OverflowError or NotImplementedError where
    any cell does not fit; `unfit_cells` finds which.
    """
    array = _from_python(cells, target) if isinstance(cells, list) else cells
    made = _cast(array, target, empty_is_null)
    if made.null_count and not target.field.nullable:
        raise Unfit("is missing or null, and the field may not be null")
    if target.symbols is not None:
        known = pc.is_in(made, value_set=pa.array(target.symbols, pa.string()))
        if not pc.all(pc.or_(known, pc.is_null(made))).as_py():
            raise Unfit(f"is not one of {', '.join(target.symbols)}")
    return made


def unfit_cells(
    cells: Cells, target: Target, *, empty_is_null: bool, private: bool
) -> Iterator[tuple[int, str]]:
    """Position and reason of each cell that does not fit, ascending.

    private: the reason does not quote the cell.
    """
    spans = [(0, len(cells))]
    while spans:
        start, stop = spans.pop()
        if start == stop:
            continue
        try:
            convert(cells[start:stop], target, empty_is_null=empty_is_null)
        except _NOT_CONVERTED as why:
            if stop - start == 1:
                yield start, _reason(cells[start], why, target, private)
                continue
            middle = (start + stop) // 2
            spans += [(middle, stop), (start, middle)]


def _reason(cell: Any, why: Exception, target: Target, private: bool) -> str:
    value = cell.as_py() if isinstance(cell, pa.Scalar) else cell
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    if text is None or text == "":
        text = "an empty cell" if text == "" else "it"
    else:
        shown = repr(text)
        cut = shown[:_SHOWN_CHARACTERS] + "..." if len(shown) > _SHOWN_CHARACTERS else shown
        text = "its value" if private else cut
    return f"{text} {why if isinstance(why, Unfit) else f'is no {_words(target.field.type)}'}"


def _words(wanted: Any) -> str:
    if pa.types.is_timestamp(wanted):
        return "time (ISO 8601, or an epoch in whole numbers)"
    return str(wanted)


def _from_python(values: Sequence[Any], target: Target) -> Any:
    """JSON's values as one array; types may be mixed from row to row."""
    if pa.types.is_nested(target.field.type):
        return pa.array(values, type=target.field.type)
    rows: dict[type, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(type(value), []).append(row)
    nested = rows.keys() - _PYTHON_TYPES.keys()
    if nested:
        raise Unfit(f"is no {_words(target.field.type)}")
    if len(rows.keys() - {type(None)}) <= 1:
        kind = next((k for k in rows if k is not type(None)), type(None))
        return pa.array(values, type=_PYTHON_TYPES[kind])
    made = [
        _cast(pa.array([values[i] for i in at], type=_PYTHON_TYPES[kind]), target, False)
        for kind, at in rows.items()
    ]
    order = np.argsort(np.concatenate([np.array(at) for at in rows.values()]))
    return pa.concat_arrays(made).take(pa.array(order))


def _cast(array: Any, target: Target, empty_is_null: bool) -> Any:
    """The array in the target's type, by what it is now."""
    wanted, have = target.field.type, array.type
    if pa.types.is_dictionary(have):
        array, have = array.cast(have.value_type), have.value_type
    if have == wanted and not empty_is_null:
        return array
    if _is_text(have):
        return _from_text(array, target, empty_is_null)
    for test, read in _READERS:
        if test(have):
            return read(array, wanted)
    raise Unfit(f"is no {_words(wanted)} but {have}")


def _from_text(array: Any, target: Target, empty_is_null: bool) -> Any:
    wanted = target.field.type
    if empty_is_null and target.field.nullable:
        empty = pc.equal(pc.binary_length(array), 0)
        array = pc.if_else(empty, pa.scalar(None, array.type), array)
    if pa.types.is_binary(wanted) or pa.types.is_fixed_size_binary(wanted):
        return pc.cast(pc.cast(array, pa.binary()), wanted)
    text = pc.cast(array, pa.string())  # fails on bytes that are not UTF-8
    if pa.types.is_string(wanted):
        return text
    text = pc.utf8_trim_whitespace(text)
    if pa.types.is_integer(wanted):
        return _text_to_integer(text, wanted)
    if pa.types.is_floating(wanted):
        made = pc.cast(text, wanted)
        spelled = pc.match_substring(text, "in", ignore_case=True)
        return _finite_stays_finite(made, pc.invert(spelled))
    if pa.types.is_timestamp(wanted):
        return _text_to_timestamp(text, wanted)
    return pc.cast(text, wanted)


def _text_to_integer(text: Any, wanted: Any) -> Any:
    hexadecimal = pc.or_(pc.match_substring(text, "x"), pc.match_substring(text, "X"))
    if pc.any(hexadecimal).as_py():  # Arrow would read 0x1F
        raise Unfit(f"is no {_words(wanted)}")
    try:
        return pc.cast(text, wanted)
    except pa.ArrowInvalid:
        whole = pc.replace_substring_regex(text, r"^\+?(-?\d+)(?:\.0*)?$", r"\1")
        return pc.cast(whole, wanted)


def _text_to_timestamp(text: Any, wanted: Any) -> Any:
    """Epochs, times with a zone and times without may be mixed."""
    digits = pc.match_substring_regex(text, r"^[+-]?\d+$")
    zoned = pc.and_(pc.match_substring_regex(text, _ZONE), pc.invert(digits))
    whole = pc.if_else(digits, text, None)
    time = pc.replace_substring_regex(pc.if_else(digits, None, text), r"(\.\d{6})\d+", r"\1")
    time = pc.replace_substring_regex(time, r"[Zz]$", "Z")
    utc = pa.timestamp("us", "UTC")
    with_zone = pc.cast(pc.if_else(zoned, time, None), utc)
    without = pc.cast(pc.cast(pc.if_else(zoned, None, time), pa.timestamp("us")), utc)
    options = pc.CastOptions(target_type=wanted, allow_time_truncate=True)
    epochs = _from_integer(_text_to_integer(whole, pa.int64()), wanted)
    return pc.coalesce(epochs, pc.cast(pc.coalesce(with_zone, without), options=options))


def _from_integer(array: Any, wanted: Any) -> Any:
    if pa.types.is_boolean(wanted):
        if not pc.all(pc.is_in(array, value_set=pa.array([0, 1, None], array.type))).as_py():
            raise Unfit("is neither 0 nor 1")
        return pc.cast(array, wanted)
    if pa.types.is_timestamp(wanted):
        return pc.cast(pc.cast(array, pa.int64()), wanted)
    if pa.types.is_floating(wanted):
        return pc.cast(array, wanted, safe=False)  # rounds above 2**53, as reading the text does
    return pc.cast(array, wanted)


def _from_floating(array: Any, wanted: Any) -> Any:
    if pa.types.is_floating(wanted):
        return _finite_stays_finite(pc.cast(array, wanted), pc.is_finite(array))
    if pa.types.is_integer(wanted):
        return pc.cast(array, wanted)
    if pa.types.is_timestamp(wanted):
        return pc.cast(pc.cast(array, pa.int64()), wanted)
    raise Unfit(f"is no {_words(wanted)} but {array.type}")


def _from_boolean(array: Any, wanted: Any) -> Any:
    if pa.types.is_temporal(wanted):
        raise Unfit(f"is no {_words(wanted)}")
    return pc.cast(array, wanted)


def _from_temporal(array: Any, wanted: Any) -> Any:
    if not pa.types.is_temporal(wanted):
        raise Unfit(f"is no {wanted} but {array.type}")
    return pc.cast(array, options=pc.CastOptions(target_type=wanted, allow_time_truncate=True))


def _finite_stays_finite(made: Any, was_finite: Any) -> Any:
    if pc.any(pc.and_(pc.is_inf(made), was_finite)).as_py():
        raise Unfit(f"is too large for {made.type}")
    return made


def _is_text(kind: Any) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_binary,
        pa.types.is_large_string,
        pa.types.is_large_binary,
        pa.types.is_string_view,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


_READERS: Final[tuple[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]], ...]] = (
    (pa.types.is_boolean, _from_boolean),
    (pa.types.is_integer, _from_integer),
    (pa.types.is_floating, _from_floating),
    (pa.types.is_temporal, _from_temporal),
    (pa.types.is_decimal, pc.cast),
    (pa.types.is_null, pc.cast),
    (pa.types.is_nested, pc.cast),
)
