"""How many bytes Avro needs to write the values of a wire array.

The arrays are what pyruhvro makes of the types that wire.py gives it. A value that is not allowed,
or that pyruhvro may have read wrongly, measures more than any record can be long.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar.resolve import Choice, Entries, Fields, Items, Leaf, Maybe, Plan
from millstream.columnar.schema import Plain

Longs: TypeAlias = npt.NDArray[np.int64]

NOT_ALLOWED: Final = 1 << 34  # longer than a record can be; a billion of them do not overflow
NINE_BYTES: Final = (-(2**62), 2**62 - 1)  # what a varint of nine bytes holds
_TEXT_LENGTHS: Final = (0, NINE_BYTES[1])
_WIDTHS: Final = {"float": 4, "double": 8, "boolean": 1}
_THRESHOLDS: Final = [np.uint64(1 << (7 * size)) for size in range(1, 10)]


def fixed_width(plan: Plan) -> int | None:
    """The length of every value, where all have the same and none is forbidden."""
    if isinstance(plan, Leaf) and isinstance(plan.writer, Plain):
        return _WIDTHS.get(plan.writer.kind)
    return None


def measure(plan: Plan, array: Any) -> Longs:
    """Bytes that Avro needs for each value of a wire array, or at least NOT_ALLOWED.

    Values under a null of an enclosing record are measured too; its Maybe discards them.
    """
    sizes: Longs
    match plan:
        case Leaf():
            sizes = _measure_leaf(plan, array)
        case Choice():
            sizes = _varint_bytes(longs_of(array), (0, len(plan.symbols) - 1))
            unknown = [i for i, symbol in enumerate(plan.symbols) if symbol is None]
            if unknown:
                sizes[np.isin(longs_of(array), unknown)] = NOT_ALLOWED
        case Items():
            sizes = _measure_blocks(array, measure(plan.items, array.values))
        case Entries():
            keys, values = array.keys, array.items
            sizes = _measure_blocks(array, _measure_strings(keys) + measure(plan.values, values))
            sizes[_repeats_a_key(keys, _offsets(array))] = NOT_ALLOWED
        case Fields():
            sizes = np.zeros(len(array), dtype=np.int64)
            for i, (_, read) in enumerate(plan.reads):
                sizes += measure(read, array.field(i))
        case Maybe():
            sizes = 1 + measure(plan.value, array)
            if array.null_count:
                valid = array.is_valid().to_numpy(zero_copy_only=False)
                sizes = np.where(valid, sizes, NOT_ALLOWED if plan.null_refused else 1)
    return sizes


def _measure_leaf(plan: Leaf, array: Any) -> Longs:
    assert isinstance(plan.writer, Plain)
    width = _WIDTHS.get(plan.writer.kind)
    if width is not None:
        return np.full(len(array), width, dtype=np.int64)
    if plan.writer.kind == "string":
        return _measure_strings(array)
    limits = varint_limits(plan)
    assert limits is not None
    return _varint_bytes(longs_of(array), limits)


def varint_limits(plan: Plan) -> tuple[int, int] | None:
    """What may stand in the one varint of a value; None if a value is not a varint and bytes."""
    match plan:
        case Leaf(writer=Plain(kind="string")):
            return _TEXT_LENGTHS
        case Leaf(writer=Plain(kind="int" | "long")):
            low, high = plan.limits
            return max(low, NINE_BYTES[0]), min(high, NINE_BYTES[1])
        case Choice() if None not in plan.symbols:
            return 0, len(plan.symbols) - 1
    return None


def _measure_strings(array: Any) -> Longs:
    sizes = text_lengths(array)
    return sizes + _varint_bytes(sizes, _TEXT_LENGTHS)


def text_lengths(array: Any) -> Longs:
    """The lengths of strings in bytes; -1 where the bytes are not UTF-8."""
    lengths = _lengths(array)
    offsets = _offsets(array)
    start, stop = int(offsets[0]), int(offsets[-1])
    if start == stop:
        return lengths
    text = np.frombuffer(array.buffers()[2], np.uint8)[start:stop]
    if text.max() < 0x80:  # ASCII, and cut anywhere still ASCII
        return lengths
    raw = array.view(pa.binary())
    try:
        raw.cast(pa.string())  # checks every string on its own
    except pa.ArrowInvalid:
        lengths[[not _is_utf8(one) for one in raw.to_pylist()]] = -1
    return lengths


def _is_utf8(raw: bytes | None) -> bool:
    try:
        (raw or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def varint_bytes(values: Longs, limits: Longs) -> Longs:
    """Bytes of each value's zigzag varint; NOT_ALLOWED outside its field's limits.

    values: fields by rows. limits: smallest and largest allowed value by field.
    """
    if not values.shape[1]:
        return np.zeros_like(values)
    zigzag = ((values << 1) ^ (values >> 63)).view(np.uint64)
    sizes = np.empty_like(values)
    shortest, longest = zigzag.min(axis=1).tolist(), zigzag.max(axis=1).tolist()
    for field, (least, most) in enumerate(zip(shortest, longest, strict=True)):
        first, last = _size(least), _size(most)
        sizes[field] = first
        for threshold in _THRESHOLDS[first - 1 : last - 1]:
            sizes[field] += zigzag[field] >= threshold
    low, high = limits[:, :1], limits[:, 1:]
    outside = (values < low) | (values > high)
    if outside.any():
        sizes[outside] = NOT_ALLOWED
    return sizes


def _varint_bytes(values: Longs, limits: tuple[int, int]) -> Longs:
    sizes: Longs = varint_bytes(values.reshape(1, -1), np.array([limits]))[0]
    return sizes


def _size(zigzag: int) -> int:
    return max(1, -(-zigzag.bit_length() // 7))


def _measure_blocks(array: Any, items: Longs) -> Longs:
    """An array or map, written as one block and the zero that ends it."""
    offsets, counts = _offsets(array), _lengths(array)
    before = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(items)))
    sizes = before[offsets[1:]] - before[offsets[:-1]] + 1
    return sizes + np.where(counts > 0, _varint_bytes(counts, NINE_BYTES), 0)


def _repeats_a_key(keys: Any, offsets: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """For each map, whether a key comes twice."""
    repeats = np.zeros(len(offsets) - 1, dtype=np.bool_)
    if len(keys):
        codes = keys.dictionary_encode()
        rows = np.repeat(np.arange(len(repeats)), np.diff(offsets))
        pairs = rows * len(codes.dictionary) + codes.indices.to_numpy()
        pairs.sort()
        twice = pairs[1:][pairs[1:] == pairs[:-1]]
        repeats[twice // len(codes.dictionary)] = True
    return repeats


def longs_of(array: Any) -> Longs:
    """The values of an int64 array; whatever lies under a null is zero or garbage."""
    if not len(array):
        return np.zeros(0, dtype=np.int64)
    start = array.offset
    return np.frombuffer(array.buffers()[1], np.int64)[start : start + len(array)]


def _lengths(array: Any) -> Longs:
    """The lengths of strings, arrays or maps."""
    offsets = _offsets(array)
    return np.subtract(offsets[1:], offsets[:-1], dtype=np.int64)


def _offsets(array: Any) -> npt.NDArray[np.int32]:
    if not len(array):
        return np.zeros(1, dtype=np.int32)
    start = array.offset
    return np.frombuffer(array.buffers()[1], np.int32)[start : start + len(array) + 1]
