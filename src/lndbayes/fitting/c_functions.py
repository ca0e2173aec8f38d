"""C entry points of the density and of its parts.

The sampler's threads call the density without Python: no lock, no arguments to unpack (through
Python two chains on two cores run at three quarters of this speed). Each entry point is compiled
once on a machine, when it is first needed. Its cache is keyed by the text of every file the density
is written in, because the compiler's own key sees one file only and would hand out stale code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, types

from lndbayes.coordinates import kernels, mix_mean_shift
from lndbayes.coordinates.kernels import (
    linear_backward,
    linear_forward,
    nonlinear_backward,
    nonlinear_forward,
    workspace,
)
from lndbayes.density import (
    argument_fields,
    argument_table,
    cell_likelihood,
    evidence_terms,
    kernel,
    linear_terms,
    priors_and_shapes,
    surfaces,
)
from lndbayes.density.argument_table import HEADER, LINE, PART
from lndbayes.density.kernel import evaluate_density
from lndbayes.model import course, layout
from lndbayes.numerics import simd, special, vector
from lndbayes.numerics.compile_cache import cache_folder, cached_cfunc
from lndbayes.numerics.source_stamp import source_stamp

__all__ = ["entry", "prepare"]

#: Status of an evaluation, as the sampler reads it: 0 good, above 0 a point to step back from.
_BAD_GRADIENT, _BAD_VALUE, _BAD_CALL = 3, 4, -1

_double = types.CPointer(types.double)
_DENSITY = types.int64(types.uint64, _double, _double, _double, types.voidptr)
_EXPAND = types.int64(types.uint64, types.uint64, _double, _double, types.voidptr)
_compiled: dict[str, Any] = {}
_MODULES = (
    *(kernel, linear_terms, surfaces, cell_likelihood, evidence_terms, priors_and_shapes),
    *(argument_table, argument_fields, course, layout, special, vector, simd, kernels),
    mix_mean_shift,
)
_SOURCES = (*(module.__file__ for module in _MODULES), __file__)


def entry(name: str) -> Any:
    """Return a C function, compiled or read from the cache when first asked for.

    Parameters
    ----------
    name : str
        `density`, `expand` (the change of coordinates), `probe` (next to nothing), or a part:
        `trials`, `counts`, `ranged`, `stages`, `channels`.
    """
    if name not in _compiled:
        _compiled[name] = _COMPILE[name](source_stamp(*_SOURCES))
    return _compiled[name]


#: What the second process of a first compilation runs, and its arguments.
_HELPER = (
    "import sys; from lndbayes.fitting.c_functions import entry; list(map(entry, sys.argv[1:]))"
)


def prepare(parts: Sequence[str]) -> None:
    """Have the density and its parts ready, made by two processes where nothing is cached yet.

    The density alone takes as long to compile as the parts of shares and channels together, and
    the compiler's lock lets one thread of a process work at a time. If the second process
    fails, nothing is lost: what it has not left in the cache is compiled here when asked for, and
    a warning has what the process said.

    Parameters
    ----------
    parts : sequence of str
        Names as `entry` takes them, besides `probe`, `density` and `expand`.
    """
    if cache_folder() is None:
        return  # a second process could leave nothing
    # compiled in a moment, it tells whether a cache is at hand
    empty = not entry("probe").cache_hits
    if "density" in _compiled or not (empty and parts and (os.cpu_count() or 1) > 1):
        return
    command = [sys.executable or "python", "-c", _HELPER, *parts]
    quiet = subprocess.DEVNULL
    with tempfile.TemporaryFile() as told:
        try:
            helper = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=told)
        except OSError:
            return  # where Python is embedded there may be no interpreter to start
        with helper:
            entry("expand")
            entry("density")
        told.seek(0)
        if helper.returncode:
            text = told.read().decode(errors="replace").strip()
            warnings.warn(
                f"a second process that compiles ended with {helper.returncode}: {text}",
                RuntimeWarning,
                stacklevel=2,
            )


def _compile_density(stamp: int) -> Any:
    @cached_cfunc(_DENSITY, error_model="numpy")
    def density(n: Any, y_: Any, gradient_: Any, value_: Any, header_: Any) -> int:
        header = carray(header_, (HEADER,), np.int64)
        if stamp == 0 or header[0] != n:
            return _BAD_CALL
        y, out, value = carray(y_, (n,)), carray(gradient_, (n,)), carray(value_, (1,))
        w, x, grad = np.empty(n), np.empty(n), np.empty(n)
        work = workspace(header)
        linear_forward(header, y, w)
        log_jacobian = nonlinear_forward(header, w, x, work)
        value[0] = log_jacobian + evaluate_density(x, grad, header)
        nonlinear_backward(header, w, x, grad, work)
        linear_backward(header, grad, out)
        if not np.isfinite(value[0]):
            return _BAD_VALUE
        for i in range(out.shape[0]):
            if not np.isfinite(out[i]):
                return _BAD_GRADIENT
        return 0

    return density


def _compile_probe(stamp: int) -> Any:
    @cached_cfunc(types.int64(types.int64))
    def probe(x: Any) -> int:
        return int(x + stamp)

    return probe


def _compile_expand(stamp: int) -> Any:
    @cached_cfunc(_EXPAND, error_model="numpy")
    def expand(n: Any, m: Any, y_: Any, x_: Any, header_: Any) -> int:
        header = carray(header_, (HEADER,), np.int64)
        if stamp == 0 or header[0] != n or m != n:
            return _BAD_CALL
        w = np.empty(n)
        linear_forward(header, carray(y_, (n,)), w)
        nonlinear_forward(header, w, carray(x_, (n,)), workspace(header))
        return 0

    return expand


# The parts look alike, but one function that made them all would not do: Numba files cached code
# under a function's own name and closure, and a closure over another function is new each time.
def _compile_trials(stamp: int) -> Any:
    @cached_cfunc(PART, error_model="numpy")
    def trials(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return cell_likelihood.trials(h, at)

    return trials


def _compile_counts(stamp: int) -> Any:
    @cached_cfunc(PART, error_model="numpy")
    def counts(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return cell_likelihood.counts(h, at)

    return counts


def _compile_stages(stamp: int) -> Any:
    @cached_cfunc(PART, error_model="numpy")
    def stages(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return cell_likelihood.stages(h, at)

    return stages


def _compile_ranged(stamp: int) -> Any:
    @cached_cfunc(PART, error_model="numpy")
    def ranged(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return evidence_terms.ranged(h, at)

    return ranged


def _compile_channels(stamp: int) -> Any:
    @cached_cfunc(PART, error_model="numpy")
    def channels(header_: Any, at_: Any) -> float:
        if stamp == 0:
            return np.nan
        h, at = carray(header_, (HEADER,), np.int64), carray(at_, (LINE,), np.int64)
        return evidence_terms.channels(h, at)

    return channels


_COMPILE = {
    "probe": _compile_probe,
    "density": _compile_density,
    "expand": _compile_expand,
    "trials": _compile_trials,
    "counts": _compile_counts,
    "ranged": _compile_ranged,
    "stages": _compile_stages,
    "channels": _compile_channels,
}
