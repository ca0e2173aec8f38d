"""The compiled density behind a C pointer, in the coordinates a sampler moves in.

The sampler's threads call it without Python: no lock, no arguments to unpack (through Python two
chains on two cores run at three quarters of this speed). One entry point is compiled, once per
machine; its cache is keyed by the text of every file the density is written in, because the
compiler's own key sees one file only and would hand out stale code.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from lndbayes.model import kernel, layout, likelihood, pack, parts, special, terms, vector
from lndbayes.model.kernel import KernelData, evaluate_density
from lndbayes.model.stamp import source_stamp

__all__ = ["CompiledDensity", "Metric", "compiled_density", "entry_point", "log_density"]

#: Status of an evaluation, as the sampler reads it: 0 good, above 0 a point to step back from.
_BAD_GRADIENT, _BAD_VALUE, _BAD_CALL = 3, 4, -1


@dataclass(frozen=True)
class Metric:
    """Linear coordinates in which a posterior is near a standard normal.

    ``x = mean + scale * y``, plus `factor` times the first K coordinates y, plus `local` within
    each of B groups. So K coordinates are correlated with everything, the rest with these and
    within their group. That costs K multiplications a coordinate: linear in sites, where a whole
    covariance would be quadratic. A metric changes how fast a sampler moves, never what it samples.

    Attributes
    ----------
    mean : ndarray, shape (D,)
        Where ``y = 0`` lies.
    scale : ndarray, shape (D,)
        Of coordinates that are in neither part; 0 for those that are.
    factor : ndarray, shape (D, K)
        Lower triangular in its first K rows.
    local : ndarray, shape (B, m, m)
        Lower triangular; of B runs of m coordinates, one after the other.
    local_start : int
        First coordinate of the first run.
    """

    mean: np.ndarray
    scale: np.ndarray
    factor: np.ndarray
    local: np.ndarray
    local_start: int

    @staticmethod
    def diagonal(mean: np.ndarray, scale: np.ndarray) -> Metric:
        """Coordinates that are scaled one by one."""
        return Metric(mean, scale, np.zeros((len(mean), 0)), np.zeros((0, 0, 0)), 0)

    def to_x(self, y: np.ndarray) -> np.ndarray:
        """Coordinates x of points y, shape (..., D)."""
        x = self.mean + self.scale * y + y[..., : self.factor.shape[1]] @ self.factor.T
        groups, length, _ = self.local.shape
        run = slice(self.local_start, self.local_start + groups * length)
        within = y[..., run].reshape(*y.shape[:-1], groups, length)
        x[..., run] += np.einsum("bij,...bj->...bi", self.local, within).reshape(y[..., run].shape)
        return np.asarray(x)


@dataclass(frozen=True)
class CompiledDensity:
    """What a sampler needs to evaluate a density from any thread.

    Attributes
    ----------
    size : int
        Number of coordinates.
    header : ndarray of int64
        Addresses and shapes of the arguments; its own address is the C function's last argument.
    keep : tuple
        The arrays the header points to, kept alive with it.
    """

    size: int
    header: np.ndarray
    keep: tuple[np.ndarray, ...]

    @property
    def density_address(self) -> int:
        """Address of ``int64 f(uint64 n, double *y, double *gradient, double *value, void *)``."""
        return int(entry_point().address)

    @property
    def expand_address(self) -> int:
        """Address of ``int64 f(uint64 n, uint64 m, double *y, double *x, void *)``."""
        return int(_expand_point().address)

    @property
    def header_address(self) -> int:
        """Address of the header."""
        return int(self.header.ctypes.data)

    def evaluate(self, y: np.ndarray, gradient: np.ndarray) -> float:
        """Log density at y; `gradient`, shape (D,), is overwritten.

        The Jacobian of the metric is constant and left out.
        """
        y = np.ascontiguousarray(y, dtype=float)
        value = np.empty(1)
        pointer = ctypes.POINTER(ctypes.c_double)
        arguments = (a.ctypes.data_as(pointer) for a in (y, gradient, value))
        entry_point().ctypes(self.size, *arguments, self.header_address)
        return float(value[0])


def compiled_density(data: KernelData, size: int, metric: Metric | None = None) -> CompiledDensity:
    """Lay out a density's arguments for the compiled entry point.

    Parameters
    ----------
    data : KernelData
        From `lndbayes.model.kernel.kernel_data`.
    size : int
        Number of unconstrained coordinates.
    metric : Metric, optional
        Coordinates to sample in; default the unconstrained ones themselves.
    """
    if metric is None:
        metric = Metric.diagonal(np.zeros(size), np.ones(size))
    groups, length, _ = metric.local.shape
    local = metric.local.reshape(groups * length, length)
    given = (*data, metric.mean, metric.scale, metric.factor, local)
    arrays = [np.ascontiguousarray(value) for value in given]
    arrays.append(np.array([metric.local_start], dtype=np.int64))
    header = [size]
    for array in arrays:
        rows, columns = (*array.shape, 1, 1)[:2]
        header += [array.ctypes.data, rows, columns]
    return CompiledDensity(size, np.array(header, dtype=np.int64), tuple(arrays))


def log_density(x: np.ndarray, gradient: np.ndarray, data: KernelData) -> float:
    """Log density of an unconstrained vector, normalised as PyMC's ``logp`` is.

    Parameters
    ----------
    x : ndarray, shape (D,)
        The point; see `lndbayes.model.layout`.
    gradient : ndarray, shape (D,)
        Overwritten.
    data : KernelData
        From `lndbayes.model.kernel.kernel_data`.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    return compiled_density(data, len(x)).evaluate(x, gradient)


@intrinsic
def _from_address(
    typing_context: Any, address: Any
) -> Any:  # pragma: no cover - runs in the compiler
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), codegen


_pointer: Any = _from_address


@njit(inline="always")
def _f1(h: np.ndarray, i: int) -> np.ndarray:
    return carray(_pointer(h[3 * i + 1]), (h[3 * i + 2],), np.float64)


@njit(inline="always")
def _f2(h: np.ndarray, i: int) -> np.ndarray:
    return carray(_pointer(h[3 * i + 1]), (h[3 * i + 2], h[3 * i + 3]), np.float64)


@njit(inline="always")
def _i1(h: np.ndarray, i: int) -> np.ndarray:
    return carray(_pointer(h[3 * i + 1]), (h[3 * i + 2],), np.int64)


@njit(inline="always")
def _i2(h: np.ndarray, i: int) -> np.ndarray:
    return carray(_pointer(h[3 * i + 1]), (h[3 * i + 2], h[3 * i + 3]), np.int64)


_FIELDS = len(KernelData._fields)


@njit
def _unpack(h: np.ndarray) -> KernelData:
    """Arguments from their addresses, in the order of `KernelData`."""
    return KernelData(
        _i1(h, 0),
        _i1(h, 1),
        _f2(h, 2),
        _f2(h, 3),
        _i1(h, 4),
        _f1(h, 5)[0],
        _f1(h, 6),
        _f2(h, 7),
        _f1(h, 8),
        _f2(h, 9),
        _f2(h, 10),
        _f2(h, 11),
        _f2(h, 12),
        _i2(h, 13),
        _f1(h, 14)[0],
        _i2(h, 15),
        _f2(h, 16),
        _i2(h, 17),
        _f2(h, 18),
        _i2(h, 19),
        _f2(h, 20),
        _f2(h, 21),
        _f2(h, 22),
        _f1(h, 23),
        _f1(h, 24),
        _i1(h, 25),
        _f1(h, 26),
        _f2(h, 27),
        _f1(h, 28),
        _i2(h, 29),
        _f2(h, 30),
        _i2(h, 31),
        _f2(h, 32),
        _f2(h, 33),
        _f1(h, 34),
        _f1(h, 35),
        _f2(h, 36),
        _f2(h, 37),
        _f1(h, 38),
        _f1(h, 39),
        _f2(h, 40),
        _f1(h, 41)[0],
    )


@njit
def _to_x(h: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
    mean, scale, factor = _f1(h, _FIELDS), _f1(h, _FIELDS + 1), _f2(h, _FIELDS + 2)
    for i in range(y.shape[0]):
        total = scale[i] * y[i]
        for j in range(factor.shape[1]):
            total += factor[i, j] * y[j]
        x[i] = mean[i] + total
    local, start = _f2(h, _FIELDS + 3), _i1(h, _FIELDS + 4)[0]
    for i in range(local.shape[0]):
        first = start + i - i % local.shape[1]
        for j in range(i % local.shape[1] + 1):
            x[start + i] += local[i, j] * y[first + j]


@njit
def _to_y(h: np.ndarray, grad: np.ndarray, out: np.ndarray) -> None:
    """Gradient in y from the gradient in x."""
    scale, factor = _f1(h, _FIELDS + 1), _f2(h, _FIELDS + 2)
    for i in range(grad.shape[0]):
        out[i] = scale[i] * grad[i]
    for i in range(grad.shape[0]):
        g = grad[i]
        for j in range(factor.shape[1]):
            out[j] += factor[i, j] * g
    local, start = _f2(h, _FIELDS + 3), _i1(h, _FIELDS + 4)[0]
    for i in range(local.shape[0]):
        first = start + i - i % local.shape[1]
        for j in range(i % local.shape[1] + 1):
            out[first + j] += local[i, j] * grad[start + i]


_double = types.CPointer(types.double)
_DENSITY = types.int64(types.uint64, _double, _double, _double, types.voidptr)
_EXPAND = types.int64(types.uint64, types.uint64, _double, _double, types.voidptr)
_compiled: dict[str, Any] = {}
_SOURCES = (
    *(
        module.__file__
        for module in (kernel, likelihood, terms, parts, pack, layout, special, vector)
    ),
    __file__,
)


def entry_point() -> Any:
    """Return the density as a C function, compiled or read from the cache at the first call."""
    if "density" not in _compiled:
        _compiled["density"] = _compile_density(source_stamp(*_SOURCES))
    return _compiled["density"]


def _expand_point() -> Any:
    if "expand" not in _compiled:
        _compiled["expand"] = _compile_expand(source_stamp(*_SOURCES))
    return _compiled["expand"]


def _compile_density(stamp: int) -> Any:
    @cfunc(_DENSITY, cache=True, error_model="numpy")
    def density(n: Any, y_: Any, gradient_: Any, value_: Any, header_: Any) -> int:
        header = carray(header_, (3 * (_FIELDS + 5) + 1,), np.int64)
        if stamp == 0 or header[0] != n:
            return _BAD_CALL
        y, out, value = carray(y_, (n,)), carray(gradient_, (n,)), carray(value_, (1,))
        x, grad = np.empty(n), np.empty(n)
        _to_x(header, y, x)
        value[0] = evaluate_density(x, grad, _unpack(header))
        _to_y(header, grad, out)
        if not np.isfinite(value[0]):
            return _BAD_VALUE
        for i in range(out.shape[0]):
            if not np.isfinite(out[i]):
                return _BAD_GRADIENT
        return 0

    return density


def _compile_expand(stamp: int) -> Any:
    @cfunc(_EXPAND, cache=True, error_model="numpy")
    def expand(n: Any, m: Any, y_: Any, x_: Any, header_: Any) -> int:
        header = carray(header_, (3 * (_FIELDS + 5) + 1,), np.int64)
        if stamp == 0 or header[0] != n or m != n:
            return _BAD_CALL
        _to_x(header, carray(y_, (n,)), carray(x_, (n,)))
        return 0

    return expand
