"""Reading and writing memory by address, for kernels.

numba's arrays count references and carry seven words each, which made an interpreter that passes
them around thirty times slower than the same one on addresses. So a kernel takes arrays, whose
lifetime its caller holds, and works on their addresses. Nothing here checks anything: whoever reads
compares with the end first.

Numbers are little-endian and need no alignment. Addresses and values are int64 unless named.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE = ir.IntType(8)


def _reader(kind: Any, width: Any) -> Any:
    """A function that reads a number of a numba type, widened to int64 if it is an integer."""

    def typed(_: Any, address: Any) -> Any:
        signed = kind != types.uint8

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], width.as_pointer())
            value = builder.load(pointer, align=1)
            if not isinstance(width, ir.IntType) or width.width == 64:
                return value
            widen = builder.sext if signed else builder.zext
            return widen(value, ir.IntType(64))

        result = types.int64 if isinstance(width, ir.IntType) else types.float64
        return result(types.int64), generate

    return intrinsic(typed)


def _writer(width: Any) -> Any:
    """A function that writes the low bits of an int64."""

    def typed(_: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], width.as_pointer())
            value = args[1] if width.width == 64 else builder.trunc(args[1], width)
            builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(typed)


def _rounding_writer(width: Any) -> Any:
    """A function that writes an int64 as a float or a double, rounded once."""

    def typed(_: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], width.as_pointer())
            builder.store(builder.sitofp(args[1], width), pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(typed)


u8 = _reader(types.uint8, _BYTE)
i32 = _reader(types.int32, ir.IntType(32))
i64 = _reader(types.int64, ir.IntType(64))
put8 = _writer(_BYTE)
put32 = _writer(ir.IntType(32))
put64 = _writer(ir.IntType(64))
put_float = _rounding_writer(ir.FloatType())
put_double = _rounding_writer(ir.DoubleType())


def _widen(_: Any, source: Any, target: Any) -> Any:
    """Read a float at one address, write it as a double at another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], ir.FloatType().as_pointer()), align=1)
        pointer = builder.inttoptr(args[1], ir.DoubleType().as_pointer())
        builder.store(builder.fpext(value, ir.DoubleType()), pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _copy(_: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy bytes to where nothing else is."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [builder.inttoptr(arg, _BYTE.as_pointer()) for arg in args[:2]]
        kinds = [_BYTE.as_pointer(), _BYTE.as_pointer(), ir.IntType(64)]
        memcpy = builder.module.declare_intrinsic("llvm.memcpy", kinds)
        builder.call(memcpy, [*pointers, args[2], ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _ones(_: Any, word: Any) -> Any:
    """How many bits of an int64 are set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), generate


def _zeros_below(_: Any, word: Any) -> Any:
    """How many bits of an int64 are clear below the lowest that is set; undefined for 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


zeros_below: Any = intrinsic(_zeros_below)
widen: Any = intrinsic(_widen)
copy: Any = intrinsic(_copy)
ones: Any = intrinsic(_ones)
