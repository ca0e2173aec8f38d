"""Multiply-add, bits of doubles, and sums of products in vector instructions of a fixed width.

Sums over elements are written for a fixed number of lanes, whatever the machine's vectors hold: a
machine with shorter ones takes several for one, and the digits are the same.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["bits", "dot", "double", "fma"]

_DOUBLE: Final = ir.DoubleType()
_INTEGER: Final = ir.IntType(64)
#: Sums kept at once: enough that none waits for the one before; then fewer for what is left.
_WIDE, _NARROW = 16, 4


def _fma(
    typing_context: Any, a: Any, b: Any, c: Any
) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = [
            context.cast(builder, value, kind, types.float64)
            for value, kind in zip(arguments, signature.args, strict=True)
        ]
        return builder.fma(*numbers)

    return types.float64(a, b, c), codegen


#: ``a * b + c``, rounded once on every machine: asked for by name, so that the compiler has no
#: choice that could differ from loop to loop.
fma: Any = intrinsic(_fma)


def _bits(typing_context: Any, x: Any) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _INTEGER)

    return types.uint64(types.float64), codegen


#: The bits of a double as a whole number.
bits: Any = intrinsic(_bits)


def _double(typing_context: Any, x: Any) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _DOUBLE)

    return types.float64(types.uint64), codegen


#: The double with these bits.
double: Any = intrinsic(_double)


def _lanes_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = a.type
    name = f"llvm.fma.v{kind.count}f64"
    function = ir.FunctionType(kind, [kind, kind, kind])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def _folded(builder: Any, lanes: Any, until: int) -> Any:
    """Add the upper half of the lanes to the lower, again and again."""
    count = lanes.type.count
    while count > until:
        count //= 2
        halves = [
            builder.shuffle_vector(
                lanes,
                ir.Constant(lanes.type, ir.Undefined),
                ir.Constant(
                    ir.VectorType(ir.IntType(32), count),
                    [ir.Constant(ir.IntType(32), first + i) for i in range(count)],
                ),
            )
            for first in (0, count)
        ]
        lanes = builder.fadd(*halves)
    return lanes


def _added(builder: Any, arrays: list[Any], total: Any, start: Any, stop: Any, count: int) -> None:
    """Add products of the elements from `start` to `stop`, `count` at a time, to `total`."""
    kind = total.type.pointee
    step = ir.Constant(_INTEGER, count)
    with cgutils.for_range_slice(builder, start, stop, step, intp=_INTEGER) as (i, _):
        a, b = (
            builder.load(builder.bitcast(builder.gep(x, [i]), kind.as_pointer()), align=8)
            for x in arrays
        )
        sums = builder.load(total)
        made = _lanes_fma(builder, a, b, sums) if count > 1 else builder.fma(a, b, sums)
        builder.store(made, total)


def _dot(
    typing_context: Any, a: Any, b: Any, n: Any
) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:2], arguments[:2], strict=True)
        ]
        n = context.cast(builder, arguments[2], signature.args[2], types.int64)
        start: Any = ir.Constant(_INTEGER, 0)
        lanes: Any = ir.Constant(ir.VectorType(_DOUBLE, _WIDE), [0.0] * _WIDE)
        for count in (_WIDE, _NARROW, 1):
            lanes = _folded(builder, lanes, count) if count > 1 else _last(builder, lanes)
            total = cgutils.alloca_once(builder, lanes.type)
            builder.store(lanes, total)
            stop = builder.sub(n, builder.srem(n, ir.Constant(_INTEGER, count)))
            _added(builder, arrays, total, start, stop, count)
            start, lanes = stop, builder.load(total)
        return lanes

    return types.float64(a, b, n), codegen


def _last(builder: Any, lanes: Any) -> Any:
    one = _folded(builder, lanes, 1)
    return builder.extract_element(one, ir.Constant(ir.IntType(32), 0))


#: Sum of products of the first n elements of two contiguous arrays of doubles.
dot: Any = intrinsic(_dot)
