"""C entry points of the density and of its parts.

The sampler's threads call the density without Python: no lock, no arguments to unpack (through
Python two chains on two cores run at three quarters of this speed). Each entry point is compiled
once on a machine, when it is first needed. Its cache is keyed by the text of every file the density
is written in, because the compiler's own key sees one file only and would hand out stale code.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from lndbayes.model import (
    address,
    kernel,
    lanes,
    layout,
    likelihood,
    pack,
    parts,
    special,
    terms,
    vector,
)
from lndbayes.model.address import FIELDS, HEADER, LINE, PART, floats, places, spots, table
from lndbayes.model.kernel import evaluate_density
from lndbayes.model.lanes import dot, fma
from lndbayes.model.stamp import source_stamp
from lndbayes.model.vector import BLOCK, ONCE, log_product

__all__ = ["entry", "prepare"]

#: Status of an evaluation, as the sampler reads it: 0 good, above 0 a point to step back from.
_BAD_GRADIENT, _BAD_VALUE, _BAD_CALL = 3, 4, -1
_MEAN, _SCALE, _FACTOR, _LOCAL, _MEMBERS = (
    FIELDS[name] for name in ("mean", "scale", "factor", "local", "members")
)
_SKEWED, _SHAPE, _RUNS, _MIDDLE, _INFORMATION = (
    FIELDS[name] for name in ("skewed", "shape", "runs", "middle", "information")
)


@njit(**ONCE)
def _to_w(h: np.ndarray, y: np.ndarray, x: np.ndarray) -> None:
    """Linear part of the change of coordinates; see `lndbayes.model.metric.Metric`."""
    mean, scale, factor = floats(h, _MEAN), floats(h, _SCALE), table(h, _FACTOR)
    for i in range(y.shape[0]):
        x[i] = fma(scale[i], y[i], mean[i]) + dot(factor[i], y, factor.shape[1])
    local, members = table(h, _LOCAL), spots(h, _MEMBERS)
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            for j in range(row + 1):
                x[at] = fma(local[i, j], y[members[group, j]], x[at])


@njit(**ONCE)
def _to_y(h: np.ndarray, grad: np.ndarray, out: np.ndarray) -> None:
    """Gradient in y from the gradient in w."""
    scale, factor = floats(h, _SCALE), table(h, _FACTOR)
    for i in range(grad.shape[0]):
        out[i] = scale[i] * grad[i]
    for i in range(grad.shape[0]):
        g = grad[i]
        for j in range(factor.shape[1]):
            out[j] = fma(factor[i, j], g, out[j])
    local, members = table(h, _LOCAL), spots(h, _MEMBERS)
    for i in range(local.shape[0]):
        group, row = i // local.shape[1], i % local.shape[1]
        at = members[group, row]
        if at >= 0:
            g = grad[at]
            for j in range(row + 1):
                place = members[group, j]
                out[place] = fma(local[i, j], g, out[place])


@njit(**ONCE)
def _to_x(h: np.ndarray, w: np.ndarray, x: np.ndarray) -> float:
    """Bends of the coordinates, and the log of their Jacobian; see `lndbayes.model.metric.Bends`.

    Scalars come first in the vector, so that they are bent before what follows them.
    """
    skewed, shape, value = places(h, _SKEWED), table(h, _SHAPE), 0.0
    for i in range(w.shape[0]):
        x[i] = w[i]
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        x[skewed[k]] = shape[k, 0] + shape[k, 1] * (u * shape[k, 2] + root * shape[k, 3])
        value += math.log(shape[k, 1] * (shape[k, 2] + u / root * shape[k, 3]))
    runs, middle, information = spots(h, _RUNS), floats(h, _MIDDLE), floats(h, _INFORMATION)
    s, ratio = np.empty((2, BLOCK)), np.empty(BLOCK)
    at = 0
    for b in range(runs.shape[0]):
        power = math.exp(runs[b, 3] * x[runs[b, 0]])
        half = -0.5 if runs[b, 3] > 0 else 0.5
        for start in range(runs[b, 1], runs[b, 2], BLOCK):
            n = min(BLOCK, runs[b, 2] - start)
            for i in range(n):
                ratio[i] = fma(power, information[at + i], 1.0)
            value += half * log_product(ratio, n, s)
            for i in range(n):
                root = math.sqrt(ratio[i])
                spread = root if half > 0.0 else 1.0 / root
                x[start + i] = fma(w[start + i], spread, middle[at + i])
            at += n
    return value


@njit(**ONCE)
def _from_x(h: np.ndarray, w: np.ndarray, x: np.ndarray, grad: np.ndarray) -> None:
    """Make the gradient in x that in w, the Jacobian's own included."""
    runs, middle, information = spots(h, _RUNS), floats(h, _MIDDLE), floats(h, _INFORMATION)
    at, part = 0, np.empty(w.shape[0])
    for b in range(runs.shape[0]):
        power, total = math.exp(runs[b, 3] * x[runs[b, 0]]), 0.0
        half = -0.5 if runs[b, 3] > 0 else 0.5
        first, last = runs[b, 1], runs[b, 2]
        for i in range(first, last):
            ratio = fma(power, information[at + i - first], 1.0)
            pull = fma(grad[i], x[i] - middle[at + i - first], 1.0)
            part[i] = (ratio - 1.0) * pull / ratio
            root = math.sqrt(ratio)
            grad[i] *= root if half > 0.0 else 1.0 / root
        for i in range(first, last):
            total += part[i]
        at += last - first
        grad[runs[b, 0]] += half * runs[b, 3] * total
    skewed, shape = places(h, _SKEWED), table(h, _SHAPE)
    for k in range(skewed.shape[0]):
        u = w[skewed[k]]
        root = math.sqrt(1.0 + u * u)
        slope = shape[k, 2] + u / root * shape[k, 3]
        own = shape[k, 3] / (root * root * root * slope)
        grad[skewed[k]] = grad[skewed[k]] * shape[k, 1] * slope + own


_double = types.CPointer(types.double)
_DENSITY = types.int64(types.uint64, _double, _double, _double, types.voidptr)
_EXPAND = types.int64(types.uint64, types.uint64, _double, _double, types.voidptr)
_compiled: dict[str, Any] = {}
_MODULES = (kernel, likelihood, terms, parts, pack, layout, special, vector, lanes, address)
_SOURCES = (*(module.__file__ for module in _MODULES), __file__)


def entry(name: str) -> Any:
    """Return a C function, compiled or read from the cache when first asked for.

    Parameters
    ----------
    name : str
        `density`, `expand` (the change of coordinates), or a part: `trials`, `counts`, `ranged`,
        `stages`, `channels`.
    """
    if name not in _compiled:
        _compiled[name] = _COMPILE[name](source_stamp(*_SOURCES))
    return _compiled[name]


#: What the second process of a first compilation runs, and its arguments.
_HELPER = "import sys; from lndbayes.model.entry import entry; list(map(entry, sys.argv[1:]))"


def prepare(parts: Sequence[str]) -> None:
    """Have the density and its parts ready, made by two processes where nothing is cached yet.

    The density alone takes as long to compile as the parts of shares and channels together, and
    the compiler's lock lets one thread of a process work at a time. If the second process
    fails, nothing is lost: what it has not left in the cache is compiled here when asked for.

    Parameters
    ----------
    parts : sequence of str
        Names as `entry` takes them, besides `density` and `expand`.
    """
    # the change of coordinates is compiled in a moment, and tells whether a cache is at hand
    empty = not entry("expand").cache_hits
    if "density" in _compiled or not (empty and parts and (os.cpu_count() or 1) > 1):
        return
    command = [sys.executable or "python", "-c", _HELPER, *parts]
    quiet = subprocess.DEVNULL
    try:
        helper = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        return  # where Python is embedded there may be no interpreter to start
    with helper:
        entry("density")


def _compile_density(stamp: int) -> Any:
    @cfunc(_DENSITY, cache=True, error_model="numpy")
    def density(n: Any, y_: Any, gradient_: Any, value_: Any, header_: Any) -> int:
        header = carray(header_, (HEADER,), np.int64)
        if stamp == 0 or header[0] != n:
            return _BAD_CALL
        y, out, value = carray(y_, (n,)), carray(gradient_, (n,)), carray(value_, (1,))
        w, x, grad = np.empty(n), np.empty(n), np.empty(n)
        _to_w(header, y, w)
        bent = _to_x(header, w, x)
        value[0] = bent + evaluate_density(x, grad, header)
        _from_x(header, w, x, grad)
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
        header = carray(header_, (HEADER,), np.int64)
        if stamp == 0 or header[0] != n or m != n:
            return _BAD_CALL
        w = np.empty(n)
        _to_w(header, carray(y_, (n,)), w)
        _to_x(header, w, carray(x_, (n,)))
        return 0

    return expand


# The parts look alike, but one function that made them all would not do: Numba files cached code
# under a function's own name and closure, and a closure over another function is new each time.
def _compile_trials(stamp: int) -> Any:
    @cfunc(PART, cache=True, error_model="numpy")
    def trials(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return likelihood.trials(h, at)

    return trials


def _compile_counts(stamp: int) -> Any:
    @cfunc(PART, cache=True, error_model="numpy")
    def counts(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return likelihood.counts(h, at)

    return counts


def _compile_stages(stamp: int) -> Any:
    @cfunc(PART, cache=True, error_model="numpy")
    def stages(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return likelihood.stages(h, at)

    return stages


def _compile_ranged(stamp: int) -> Any:
    @cfunc(PART, cache=True, error_model="numpy")
    def ranged(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return terms.ranged(h, at)

    return ranged


def _compile_channels(stamp: int) -> Any:
    @cfunc(PART, cache=True, error_model="numpy")
    def channels(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return terms.channels(h, at)

    return channels


_COMPILE = {
    "density": _compile_density,
    "expand": _compile_expand,
    "trials": _compile_trials,
    "counts": _compile_counts,
    "ranged": _compile_ranged,
    "stages": _compile_stages,
    "channels": _compile_channels,
}
