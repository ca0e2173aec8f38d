"""Arguments and parts of the compiled density, found by their addresses.

A header of integers holds the number of coordinates, then address and shape of every field of
`lndbayes.density.argument_fields.FIELDS`, then the address of each compiled part. Compiled code
finds each by its name, which is looked up when it is compiled. Parts are called by pointer, not
linked: a function that Numba compiles takes along all that it calls, optimises it again and makes
machine code of it once more, at every level of calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numba.np.numpy_support import from_dtype

from lndbayes.density.argument_fields import BLOCKS, FIELDS, KINDS
from lndbayes.model.layout import SCALARS
from lndbayes.numerics.vector import INSIDE

__all__ = [
    "HEADER",
    "LINE",
    "PART",
    "PARTS",
    "block",
    "call",
    "get",
    "grid",
    "line",
    "part",
    "scalar",
]

#: Arrays that each part reads and writes, in the order in which it is given them; the last ones
#: are added to. ``v`` and ``g`` are the scalars and the derivatives in them.
PARTS: Final[dict[str, tuple[str, ...]]] = {
    "cells": ("eta", "v", "by_eta", "g"),
    "ranged": ("eta", "v", "by_eta", "g"),
    "stages": (
        *("eta", "built", "change", "level", "site", "v"),
        *("by_eta", "by_level", "by_site", "g"),
    ),
    "channels": ("eta0", "bias", "v", "by_eta0", "by_bias", "g"),
}
#: Integers of a header.
HEADER: Final = 1 + 3 * len(FIELDS) + len(PARTS)
#: Most arrays that a part takes.
LINE: Final = max(map(len, PARTS.values()))
#: C signature of a part: header and addresses of the arrays, to its share of the log density.
PART: Final = types.double(types.voidptr, types.voidptr)


def _constant(name: str, places: Callable[[str], int]) -> Any:
    """Compiled function of a name, written out where it is called, to the integer it stands for."""

    def place(typing_context: Any, name: Any) -> Any:  # pragma: no cover - in the compiler
        if not isinstance(name, types.StringLiteral):
            return None
        number = ir.Constant(ir.IntType(64), places(name.literal_value))
        return types.int64(name), lambda context, builder, signature, arguments: number

    place.__name__ = name
    return intrinsic(prefer_literal=True)(place)


#: ``scalar("ramp_months")``: number of a scalar that every vector has.
scalar: Any = _constant("scalar", SCALARS.index)
#: ``block("site_level")``: number of a part of the vector in `Arguments.block_at`.
block: Any = _constant("block", BLOCKS.index)
#: ``part("cells")``: place of a part's address in the header.
part: Any = _constant("part", lambda name: 1 + 3 * len(FIELDS) + list(PARTS).index(name))


def _call_at(
    typing_context: Any, address: Any, header: Any, arrays: Any
) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def start(kind: Any, array: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(data, cgutils.voidptr_t)

        _, kind, kinds = signature.args
        starts = [
            start(k, builder.extract_value(arguments[2], i)) for i, k in enumerate(kinds.types)
        ]
        held = cgutils.alloca_once_value(builder, cgutils.pack_array(builder, starts))
        held = builder.bitcast(held, cgutils.voidptr_t)
        function = ir.FunctionType(ir.DoubleType(), [cgutils.voidptr_t, cgutils.voidptr_t])
        target = builder.inttoptr(arguments[0], function.as_pointer())
        return builder.call(target, [start(kind, arguments[1]), held])

    return types.double(types.int64, header, arrays), codegen


_call: Any = intrinsic(_call_at)


@njit(**INSIDE)
def call(h: np.ndarray, part: int, arrays: tuple[np.ndarray, ...]) -> float:
    """Run a part on arrays of doubles; 0 where this density has no such part.

    Parameters
    ----------
    h : ndarray of int64, shape (HEADER,)
        Addresses.
    part : int
        ``part(name)`` of a name in `PARTS`.
    arrays : tuple of at most LINE ndarrays
        What the part reads and writes, in the order of `PARTS`.
    """
    address = h[part]
    if address == 0:
        return 0.0
    return float(_call(address, h, arrays))


def _array(context: Any, builder: Any, kind: Any, address: Any, shape: list[Any]) -> Any:
    """Array of the type `kind` at an address; nothing owns it."""
    array = context.make_array(kind)(context, builder)
    whole = ir.IntType(64)
    strides = [whole(8)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    data = builder.inttoptr(address, array.data.type)
    arrayobj.populate_array(array, data, shape, strides, 8, None)
    return array._getvalue()


def _integer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.load(builder.gep(data, [place]))


def _get(typing_context: Any, h: Any, name: Any) -> Any:  # pragma: no cover - in the compiler
    if not isinstance(name, types.StringLiteral):
        return None
    number, annotation = FIELDS[name.literal_value]
    dtype, dims = KINDS[annotation]
    element, first = from_dtype(np.dtype(dtype)), 1 + 3 * number
    kind = types.Array(element, dims, "C") if dims else element

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places = (ir.Constant(ir.IntType(64), first + k) for k in range(1 + dims))
        address, *shape = (_integer(context, builder, h, arguments[0], p) for p in places)
        if not dims:
            pointer = context.get_value_type(kind).as_pointer()
            return builder.load(builder.inttoptr(address, pointer))
        return _array(context, builder, kind, address, shape)

    return kind(h, name), codegen


def _given(dims: int) -> Any:
    """Access to an array that a part was given, by the names of both."""

    def given(typing_context: Any, at: Any, part: Any, name: Any, *shape: Any) -> Any:
        if not isinstance(name, types.StringLiteral):
            return None
        kind = types.Array(types.float64, dims, "C")
        number = PARTS[part.literal_value].index(name.literal_value)

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = ir.Constant(ir.IntType(64), number)
            address = _integer(context, builder, at, arguments[0], place)
            return _array(context, builder, kind, address, list(arguments[3:]))

        return kind(at, part, name, *(types.int64 for _ in shape)), codegen

    return given


def _line(typing_context: Any, at: Any, part: Any, name: Any, length: Any) -> Any:
    return _given(1)(typing_context, at, part, name, length)


def _grid(typing_context: Any, at: Any, part: Any, name: Any, rows: Any, columns: Any) -> Any:
    return _given(2)(typing_context, at, part, name, rows, columns)


#: ``get(h, "event_time")``: an argument by its name in `FIELDS`.
get: Any = intrinsic(prefer_literal=True)(_get)
#: ``line(at, "cells", "v", n)``, ``grid(at, "cells", "eta", n, m)``: an array that a part was given
#: at `at`, n doubles or n x m.
line: Any = intrinsic(prefer_literal=True)(_line)
grid: Any = intrinsic(prefer_literal=True)(_grid)
