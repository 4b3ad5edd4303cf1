"""Tree ensembles through one compiled kernel: rows in, summed leaves out.

A tree of up to 64 leaves is a word of bits, one for each leaf from left to right. Every node that
sends a row to its right strikes out the leaves on its left; the lowest bit left is the row's leaf
(QuickScorer, Lucchese et al., SIGIR 2015). So all nodes are asked in any order, without a branch,
for 32 rows at a time in vector registers (V-QuickScorer, Lucchese et al., SIGIR 2016). A larger
tree is walked, eight rows side by side so that their loads overlap.

Each row's leaves are added in the order of the trees, as ONNX Runtime does with one thread.
Nothing here checks anything: layout.py made the numbers. Parts get addresses, since an array that
is passed to a part is counted twice, which cost ten times what the tree did.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from millstream.columnar import compiled, kernel_memory
from millstream.columnar.compiled import kernel, part, stamp_of
from millstream.columnar.kernel_memory import zeros_below

# Columns of the table of trees.
BITS: Final = 0  # 1: a word of bits; 0: walked
BEGIN: Final = 1  # first node
RIGHT: Final = 2  # bits: first node that sends NaN to its right
SETS: Final = 3  # bits: first node that asks for membership
END: Final = 4  # bits: behind the last node
VALUES: Final = 5  # bits: its first leaf's first value
TARGET: Final = 6  # what its leaves add to; -1: each leaf has a value for every target
DEPTH: Final = 7  # walked: its levels; -1 where a node asks for membership
TREE_FIELDS: Final = 8

ROWS: Final = 64  # rows of a block where a tree is bits: its columns stay in the first cache
ROWS_WALKED: Final = 256  # where none is: a tree stays there while these rows go through it
# A walked node is a threshold and a word: its left child (its right one is the next), feature and
# flags. A leaf is its own left child, below every row.
FEATURE_SHIFT: Final = 32
FEATURE_BITS: Final = 20
NAN_RIGHT: Final = 1 << 60
IS_SET: Final = 1 << 61
LEFT_MASK: Final = (1 << FEATURE_SHIFT) - 1
FEATURE_MASK: Final = (1 << FEATURE_BITS) - 1

_MANY: Final = 32  # rows asked at once
_FEW: Final = 8
int64: Any = np.int64


def _asked(lanes: int, comparison: str, ordered: bool) -> Any:
    """A function that asks `count` nodes (at least one) for `lanes` rows, and strikes out leaves.

    Its arguments are addresses: the rows' first column, the nodes' columns (offsets in bytes),
    thresholds and masks, how many nodes, and the rows' words of bits.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        columns, offsets, thresholds, masks, count, words = args
        number, whole, place = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
        numbers, wholes = ir.VectorType(number, lanes), ir.VectorType(whole, lanes)

        def at(address: Any, index: Any, kind: Any) -> Any:
            pointer = builder.inttoptr(address, kind.as_pointer())
            return builder.load(builder.gep(pointer, [index]))

        def repeated(value: Any, kind: Any) -> Any:
            empty = ir.Constant(kind, ir.Undefined)
            first = builder.insert_element(empty, value, place(0))
            zeros = ir.Constant(ir.VectorType(place, lanes), [0] * lanes)
            return builder.shuffle_vector(first, empty, zeros)

        stored = builder.inttoptr(words, wholes.as_pointer())
        before = builder.load(stored, align=8)
        entry = builder.block
        loop, done = builder.append_basic_block("node"), builder.append_basic_block("asked")
        builder.branch(loop)
        builder.position_at_end(loop)
        index, bits = builder.phi(whole), builder.phi(wholes)
        index.add_incoming(whole(0), entry)
        bits.add_incoming(before, entry)
        column = builder.add(columns, at(offsets, index, whole))
        values = builder.load(builder.inttoptr(column, numbers.as_pointer()), align=8)
        threshold = repeated(at(thresholds, index, number), numbers)
        mask = repeated(at(masks, index, whole), wholes)
        compare = builder.fcmp_ordered if ordered else builder.fcmp_unordered
        right = compare(comparison, values, threshold)
        after = builder.select(right, builder.and_(bits, mask), bits)
        following = builder.add(index, whole(1))
        index.add_incoming(following, loop)
        bits.add_incoming(after, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        builder.store(after, stored, align=8)
        return context.get_dummy_value()

    def typed(_: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
        return types.void(*([types.int64] * 6)), generate

    return intrinsic(typed)


def _loaded(kind: Any, width: Any) -> Any:
    """A function that loads the number at an address and an index behind it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], width.as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return intrinsic(lambda _, address, index: (kind(types.int64, types.int64), generate))


_number: Any = _loaded(types.float64, ir.DoubleType())
_whole: Any = _loaded(types.int64, ir.IntType(64))
# A comparison with NaN is false if ordered, true if not.
_many_left: Any = _asked(_MANY, ">", ordered=True)
_many_right: Any = _asked(_MANY, ">", ordered=False)
_few_left: Any = _asked(_FEW, ">", ordered=True)
_few_right: Any = _asked(_FEW, ">", ordered=False)


@part
def _goes_right(value: float, members: int, low: int, high: int, nan_right: int) -> int:
    """Whether a row is no member of members[low:high], which ascend."""
    if value != value:  # noqa: PLR0124 - NaN
        return nan_right
    while low < high:
        middle = (low + high) >> 1
        found = _number(members, middle)
        if found < value:
            low = middle + 1
        elif found > value:
            high = middle
        else:
            return 0
    return 1


@part
def _ask(rows: int, begin: int, end: int, nan_right: bool, addresses: Any) -> None:
    """Nodes begin to end, for all rows of a block."""
    columns, offsets, thresholds, masks, words = addresses
    count = end - begin
    if count <= 0:
        return
    offsets, thresholds, masks = offsets + 8 * begin, thresholds + 8 * begin, masks + 8 * begin
    row = 0
    while row < rows:
        place, word = columns + 8 * row, words + 8 * row
        if rows - row > _FEW:
            if nan_right:
                _many_right(place, offsets, thresholds, masks, count, word)
            else:
                _many_left(place, offsets, thresholds, masks, count, word)
            row += _MANY
        else:
            if nan_right:
                _few_right(place, offsets, thresholds, masks, count, word)
            else:
                _few_left(place, offsets, thresholds, masks, count, word)
            row += _FEW


@part
def _step(row: int, node: int, thresholds: int, words: int) -> int:
    word = _whole(words, node)
    value = _number(row, (word >> FEATURE_SHIFT) & FEATURE_MASK)
    right = int64(value > _number(thresholds, node))
    missing = int64(value != value) & int64((word & NAN_RIGHT) != 0)  # noqa: PLR0124
    child: int = (word & LEFT_MASK) + (right | missing)
    return child


@part
def _walk_one(row: int, node: int, addresses: Any) -> int:
    """The leaf that a row reaches in a tree some of whose nodes may ask for membership."""
    thresholds, words, sets, members = addresses
    while True:
        word = _whole(words, node)
        if (word & IS_SET) != 0:
            number = 3 * int64(_number(thresholds, node))
            value = _number(row, (word >> FEATURE_SHIFT) & FEATURE_MASK)
            low, high = _whole(sets, number), _whole(sets, number + 1)
            nan_right = _whole(sets, number + 2)
            node = (word & LEFT_MASK) + _goes_right(value, members, low, high, nan_right)
        elif (word & LEFT_MASK) == node:
            return node
        else:
            node = _step(row, node, thresholds, words)


@part
def _walk_eight(at: int, width: int, root: int, depth: int, addresses: Any) -> Any:
    thresholds, words = addresses[0], addresses[1]
    a, b, c, d, e, f, g, h = root, root, root, root, root, root, root, root
    for _ in range(depth):
        a = _step(at, a, thresholds, words)
        b = _step(at + width, b, thresholds, words)
        c = _step(at + 2 * width, c, thresholds, words)
        d = _step(at + 3 * width, d, thresholds, words)
        e = _step(at + 4 * width, e, thresholds, words)
        f = _step(at + 5 * width, f, thresholds, words)
        g = _step(at + 6 * width, g, thresholds, words)
        h = _step(at + 7 * width, h, thresholds, words)
    return a, b, c, d, e, f, g, h


_tuple: Any = types.Tuple
_TABLES = _tuple(
    (
        types.int64[:, ::1],  # trees
        types.int64[::1],  # bits: each node's column, in bytes
        types.float64[::1],  # thresholds, or the number of a set
        types.int64[::1],  # masks
        types.int64[:, ::1],  # sets: begin, end in members, whether NaN goes right
        types.float64[::1],  # members
        types.float64[::1],  # walked: thresholds, or the number of a set
        types.int64[::1],  # words
        types.int64[::1],  # leaves: the first value
        types.float64[::1],  # values
    )
)
_SIGNATURE = types.void(
    types.float64[:, ::1],  # rows
    _TABLES,
    types.boolean,  # sums are rounded to float32 each time
    types.float64[:, ::1],  # scratch: columns of a block
    types.int64[::1],  # scratch: bits of a block
    types.float64[:, ::1],  # sums: rows by targets
)


def _build(stamp: int) -> Any:
    def score(x: Any, tables: Any, single: bool, columns: Any, bits: Any, out: Any) -> None:  # noqa: PLR0912 - loops
        _ = stamp
        trees, offsets, thresholds, masks, sets, members, walked, words, leaves, values = tables
        at_members, at_x, width = members.ctypes.data, x.ctypes.data, 8 * x.shape[1]
        nodes = (offsets.ctypes.data, thresholds.ctypes.data, masks.ctypes.data)
        asked = (columns.ctypes.data, *nodes, bits.ctypes.data)
        paths = (walked.ctypes.data, words.ctypes.data, sets.ctypes.data, at_members)
        block = len(bits)
        for start in range(0, x.shape[0], block):
            rows = min(block, x.shape[0] - start)
            for row in range(rows):
                for column in range(columns.shape[0]):
                    columns[column, row] = x[start + row, column]
                for target in range(out.shape[1]):
                    out[start + row, target] = 0.0
            for tree in range(trees.shape[0]):
                target, first = trees[tree, TARGET], trees[tree, VALUES]
                many = 1 if target >= 0 else out.shape[1]
                target = max(target, 0)
                if trees[tree, BITS]:
                    for row in range(block):
                        bits[row] = -1
                    _ask(rows, trees[tree, BEGIN], trees[tree, RIGHT], False, asked)
                    _ask(rows, trees[tree, RIGHT], trees[tree, SETS], True, asked)
                    for node in range(trees[tree, SETS], trees[tree, END]):
                        column, number = offsets[node] // (8 * ROWS), int64(thresholds[node])
                        low, high, missing = sets[number, 0], sets[number, 1], sets[number, 2]
                        for row in range(rows):
                            if _goes_right(columns[column, row], at_members, low, high, missing):
                                bits[row] &= masks[node]
                    for row in range(rows):
                        bits[row] = first + many * zeros_below(bits[row])
                else:
                    root, depth, row = trees[tree, BEGIN], trees[tree, DEPTH], 0
                    at = at_x + width * start
                    while depth > 0 and row + 8 <= rows:
                        found = _walk_eight(at + width * row, width, root, depth, paths)
                        for place in range(8):
                            bits[row] = leaves[found[place]]
                            row += 1
                    while row < rows:
                        bits[row] = leaves[_walk_one(at + width * row, root, paths)]
                        row += 1
                for place in range(many):
                    column = target + place
                    if single:
                        for row in range(rows):
                            total = out[start + row, column] + values[bits[row] + place]
                            out[start + row, column] = np.float64(np.float32(total))
                    else:
                        for row in range(rows):
                            out[start + row, column] += values[bits[row] + place]

    return score


sums = kernel(_SIGNATURE)(_build(stamp_of(compiled.__file__, kernel_memory.__file__, __file__)))


def _build_transform(stamp: int) -> Any:
    def transform(values: Any, is_softmax: bool) -> None:
        """In place, with C's expf and in float32's order, so that the bits are ONNX Runtime's."""
        _ = stamp
        one = np.float32(1)
        for row in range(values.shape[0]):
            if is_softmax:
                most, total = values[row, 0], np.float32(0)
                for column in range(1, values.shape[1]):
                    most = max(most, values[row, column])
                for column in range(values.shape[1]):
                    values[row, column] = math.exp(values[row, column] - most)
                    total += values[row, column]
                for column in range(values.shape[1]):
                    values[row, column] /= total
            else:
                for column in range(values.shape[1]):
                    value = values[row, column]
                    small = one / (one + math.exp(-abs(value)))
                    values[row, column] = one - small if value < 0 else small

    return transform


transform = kernel(types.void(types.float32[:, ::1], types.boolean))(
    _build_transform(stamp_of(compiled.__file__, __file__))
)
