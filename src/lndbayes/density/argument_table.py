"""Arguments and parts of the compiled density, found by their addresses.

A header of integers holds the number of coordinates, then address and shape of every field of
`KernelData` and of the metric, then the address of each compiled part. Parts are called by pointer,
not linked: a function that Numba compiles takes along all that it calls, optimises it again and
makes machine code of it once more, at every level of calls.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

from lndbayes.density.arguments import KernelData
from lndbayes.numerics.vector import INSIDE

__all__ = [
    "FIELDS",
    "HEADER",
    "LINE",
    "PART",
    "PARTS",
    "call",
    "floats",
    "grid",
    "line",
    "places",
    "spots",
    "table",
]

#: Number of every field in the header; the metric's follow those of `KernelData`.
FIELDS: Final = {
    name: i
    for i, name in enumerate(
        (
            *(*KernelData._fields, "mean", "scale", "rows", "factor", "local", "members"),
            *("skewed", "shape", "runs", "middle", "information"),
            *("gaussian_members", "gaussian_scalars", "gaussian_information", "gaussian_score"),
            *(
                "gaussian_score_slope",
                "gaussian_shared_scalars",
                "gaussian_reference_mix",
                "gaussian_mix_at",
                "directions",
                "residual_scaling",
            ),
        )
    )
}
#: Number of every part.
PARTS: Final = {name: i for i, name in enumerate(("cells", "ranged", "stages", "channels"))}
#: Integers of a header.
HEADER: Final = 1 + 3 * len(FIELDS) + len(PARTS)
#: Most arrays that a part takes.
LINE: Final = 10
#: C signature of a part: header and addresses of the arrays, to its share of the log density.
PART: Final = types.double(types.voidptr, types.voidptr)
_FIRST_PART: Final = 1 + 3 * len(FIELDS)


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
        A value of `PARTS`.
    arrays : tuple of at most LINE ndarrays
        What the part reads and writes, in the order that it expects.
    """
    address = h[_FIRST_PART + part]
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


def _field(dtype: Any, dims: int) -> Any:
    """Access to a field of the header.

    An intrinsic: a function would be compiled anew for every number of a field.
    """

    @intrinsic
    def field(typing_context: Any, h: Any, i: Any) -> Any:  # pragma: no cover - in the compiler
        kind, integer = types.Array(dtype, dims, "C"), ir.IntType(64)

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            first = builder.mul(arguments[1], integer(3))
            address, *shape = (
                _integer(context, builder, h, arguments[0], builder.add(first, integer(k)))
                for k in range(1, 2 + dims)
            )
            return _array(context, builder, kind, address, shape)

        return kind(h, types.int64), codegen

    return field


def _given(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    address = _integer(context, builder, signature.args[0], arguments[0], arguments[1])
    return _array(context, builder, signature.return_type, address, list(arguments[2:]))


#: Field i of a header h: a line or a table of doubles, a line or a table of integers.
floats: Any = _field(types.float64, 1)
table: Any = _field(types.float64, 2)
places: Any = _field(types.int64, 1)
spots: Any = _field(types.int64, 2)


def _line(typing_context: Any, at: Any, i: Any, length: Any) -> Any:  # pragma: no cover
    return types.Array(types.float64, 1, "C")(at, types.int64, types.int64), _given


def _grid(
    typing_context: Any, at: Any, i: Any, rows: Any, columns: Any
) -> Any:  # pragma: no cover - runs in the compiler
    integer = types.int64
    return types.Array(types.float64, 2, "C")(at, integer, integer, integer), _given


#: Array i of those a part was given at `at`: a line of n doubles, a table of n x m.
line: Any = intrinsic(_line)
grid: Any = intrinsic(_grid)
