"""A plan as the program that kernel_read.py runs: numbers in place of a tree.

The operations stand in the order of the writer's fields; records are laid out inline, blocks
(arrays and maps) and unions jump. Symbols of enums stand behind the operations, each with its place
in one string of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millstream.columnar import kernel_read as k
from millstream.columnar.blocks import is_doubles
from millstream.columnar.resolve import (
    LONG_LIMITS,
    Choice,
    Default,
    Entries,
    Fields,
    Items,
    Leaf,
    Maybe,
    Plan,
)
from millstream.columnar.schema import Fixed, Plain

_OP_NUMBERS: Final = 6
_DROPPED: Final = -1
_WIDTHS: Final = {"float": 4, "double": 8}


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernel needs to know about a plan.

    words: int64, as laid out in kernel_read.py, the places in the arena still zero. columns: the
    pyarrow.Schema of the slots, which are the picked fields in the reader's order, without those
    that have a default; an array of doubles is binary (blocks.py). widths: of the slots. texts: how
    many slots hold texts. depth: how deep blocks are nested. symbol_bytes: the longest symbols of
    all kept enums, together.
    """

    words: npt.NDArray[np.int64]
    columns: Any
    widths: tuple[int, ...]
    texts: int
    depth: int
    symbol_bytes: int


def compiled(plan: Fields, columns: Any) -> Program | None:
    """The program for a plan; None where a wanted field is a map, a record, or an array of anything
    but doubles.

    columns: the reader's pyarrow.Schema, as long as ``plan.picks``.
    """
    slots: dict[int, int] = {}
    kept = []
    for place, (_, pick) in enumerate(plan.picks):
        if not isinstance(pick, Default):
            slots[pick] = len(slots)
            field = columns.field(place)
            kept.append(field.with_type(pa.binary()) if is_doubles(plan.reads[pick][1]) else field)
    made = _Compiler(len(slots))
    for i, (_, read) in enumerate(plan.reads):
        slot = slots.get(i, _DROPPED)
        if slot >= 0 and not (_is_flat(read) or is_doubles(read)):
            return None
        made.add(read, slot)
    if all(pa.types.is_null(field.type) for field in kept):
        return None  # a batch without buffers
    return made.program(pa.schema(kept))


def _is_flat(plan: Plan) -> bool:
    inner = plan.value if isinstance(plan, Maybe) else plan
    return isinstance(inner, Leaf | Choice)


class _Compiler:
    """Operations so far."""

    def __init__(self, slots: int) -> None:
        self._ops: list[list[int]] = []
        self._symbols: list[tuple[int, tuple[str | None, ...]]] = []  # operation, its symbols
        self._slots = [[0, 0, 0, 0] for _ in range(slots)]
        self._texts = 0
        self._depth = 0
        self._deepest = 0
        self._symbol_bytes = 0
        self._landing = 0  # where a jump may land: nothing is joined to what stands before it

    def program(self, columns: Any) -> Program:
        ops, text = list(self._ops), b""
        for at, symbols in self._symbols:
            ops[at][2] = len(ops)
            for symbol in symbols:
                raw = (symbol or "").encode()
                ops.append([-1 if symbol is None else len(text), len(raw), 0, 0, 0, 0])
                text += raw
        header = [0] * k.HEADER
        header[k.OPS], header[k.OPS_COUNT] = k.HEADER, len(self._ops)
        header[k.SLOTS], header[k.SLOTS_COUNT] = k.HEADER + 6 * len(ops), len(self._slots)
        header[k.SYMBOLS] = header[k.SLOTS] + 4 * len(self._slots)
        header[k.DEPTH] = self._deepest
        numbers = [*header, *chain.from_iterable(ops), *chain.from_iterable(self._slots)]
        padded = text.ljust(-(-len(text) // 8) * 8, b"\x00")
        words = np.concatenate((np.array(numbers, np.int64), np.frombuffer(padded, np.int64)))
        widths = tuple(slot[0] for slot in self._slots)
        return Program(words, columns, widths, self._texts, self._deepest, self._symbol_bytes)

    def add(self, plan: Plan, slot: int) -> None:
        """Append what reads one value."""
        match plan:
            case Leaf():
                self._leaf(plan, slot)
            case Choice():
                self._choice(plan, slot)
            case Items() if slot >= 0:
                self._op(k.MARK, slot)
                self._text_slot(slot, symbols=0)
                self._blocks([plan.items])
                self._op(k.MEASURE, slot)
            case Items():
                self._blocks([plan.items])
            case Entries():
                key = Plain("string")
                self._blocks([Leaf(key, key, None), plan.values])
            case Fields():
                for _, read in plan.reads:
                    self.add(read, _DROPPED)
            case Maybe():
                self._maybe(plan, slot)

    def _op(self, *numbers: int) -> int:
        self._ops.append([*numbers, *[0] * (_OP_NUMBERS - len(numbers))])
        return len(self._ops) - 1

    def _maybe(self, plan: Maybe, slot: int) -> None:
        null = _DROPPED if plan.null_index is None else plan.null_index
        value = 1 if plan.null_index == 0 else 0
        refused = plan.null_refused or plan.null_index is None
        at = self._op(k.UNION, slot, null, value, int(refused), 0)
        if slot >= 0 and not refused:
            self._slots[slot][1] = 1
        self.add(plan.value, slot)
        self._ops[at][5] = self._landing = len(self._ops)

    def _blocks(self, plans: list[Plan]) -> None:
        depth = self._depth
        self._depth += 1
        self._deepest = max(self._deepest, self._depth)
        at = self._op(k.BLOCKS, _DROPPED, depth, 0)
        self._landing = len(self._ops)
        for plan in plans:
            self.add(plan, _DROPPED)
        self._op(k.AGAIN, _DROPPED, depth, at)
        self._ops[at][3] = self._landing = len(self._ops)
        self._depth = depth

    def _choice(self, plan: Choice, slot: int) -> None:
        self._symbols.append((self._op(k.CHOICE, slot, 0, len(plan.symbols)), plan.symbols))
        if slot >= 0:
            self._text_slot(slot, symbols=1)
            self._symbol_bytes += max(len((one or "").encode()) for one in plan.symbols)

    def _text_slot(self, slot: int, symbols: int) -> None:
        self._slots[slot] = [k.TEXTS, self._slots[slot][1], self._texts, symbols]
        self._texts += 1

    def _wide(self, slot: int, width: int) -> None:
        if slot >= 0:
            self._slots[slot] = [width, self._slots[slot][1], 0, 0]

    def _leaf(self, leaf: Leaf, slot: int) -> None:
        writer, reader = leaf.writer, leaf.reader
        size = writer.size if isinstance(writer, Fixed) else 0
        kind = writer.kind if isinstance(writer, Plain) else "fixed"
        if reader.logical == "decimal":
            limit = 10**reader.precision
            self._op(k.DECIMAL, slot, size, _signed(limit >> 64), _signed(limit))
            self._wide(slot, 16)
        elif kind == "fixed":
            self._fixed(slot, size)
        elif kind == "null":
            self._wide(slot, k.NULLS)
        elif kind == "boolean":
            self._op(k.BOOLEAN, slot)
            self._wide(slot, k.BITS)
        elif kind in ("float", "double"):
            self._floating(kind, leaf, slot)
        elif kind in ("int", "long"):
            self._integer(leaf, slot)
        else:
            both = isinstance(reader, Plain) and (kind, reader.kind) == ("bytes", "bytes")
            self._op(k.TEXT, slot, int(not both))
            if slot >= 0:
                self._text_slot(slot, symbols=0)

    def _floating(self, kind: str, leaf: Leaf, slot: int) -> None:
        if slot < 0:
            self._fixed(slot, _WIDTHS[kind])
            return
        assert isinstance(leaf.reader, Plain)
        width = _WIDTHS[leaf.reader.kind]
        self._wide(slot, width)
        run = [k.DOUBLES, 0] if kind == "double" else [k.FLOATS, int(width == 8)]
        last = self._joinable()
        if last and [last[0], last[3]] == run and last[1] + last[2] == slot:
            last[2] += 1
        else:
            self._op(run[0], slot, 1, run[1])

    def _fixed(self, slot: int, size: int) -> None:
        last = self._joinable()
        if slot >= 0:
            self._op(k.FIXED, slot, size)
            self._wide(slot, size)
        elif last and last[0] == k.SKIP:
            last[2] += size
        else:
            self._op(k.SKIP, slot, size)

    def _joinable(self) -> list[int] | None:
        """The last operation, if nothing can come after it without it."""
        return self._ops[-1] if len(self._ops) > self._landing else None

    def _integer(self, leaf: Leaf, slot: int) -> None:
        low, high = leaf.limits
        assert LONG_LIMITS[0] <= low <= high <= LONG_LIMITS[1]
        assert isinstance(leaf.reader, Plain)
        how, width = _INTEGERS[leaf.reader.kind]
        self._op(k.INTEGER, slot, low, high, how)
        self._wide(slot, width)


_INTEGERS: Final = {
    "int": (k.AS_INT32, 4),
    "long": (k.AS_INT64, 8),
    "float": (k.AS_FLOAT, 4),
    "double": (k.AS_DOUBLE, 8),
}


def _signed(bits: int) -> int:
    """The low 64 bits as an int64."""
    return ((bits & (2**64 - 1)) ^ (1 << 63)) - (1 << 63)
