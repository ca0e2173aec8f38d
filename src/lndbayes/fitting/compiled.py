"""The compiled density and its arguments, in the coordinates a sampler moves in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from lndbayes.coordinates.transform import Metric
from lndbayes.density.argument_table import PARTS
from lndbayes.density.arguments import KernelData
from lndbayes.fitting.c_functions import entry, prepare
from lndbayes.numerics.vector import LINKS

__all__ = ["CompiledDensity", "compiled_density", "log_density"]

#: Fields that are empty where a part has nothing to do.
_FIELDS_OF = {
    "cells": ("cell",),
    "ranged": ("ranged",),
    "stages": ("stage",),
    "channels": ("retrospective_at", "history_at", "national_logit", "elicited_logit"),
}


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
        return int(entry("density").address)

    @property
    def expand_address(self) -> int:
        """Address of ``int64 f(uint64 n, uint64 m, double *y, double *x, void *)``."""
        return int(entry("expand").address)

    @property
    def header_address(self) -> int:
        """Address of the header."""
        return int(self.header.ctypes.data)

    def evaluate(self, y: np.ndarray, gradient: np.ndarray) -> float:
        """Log density at y; `gradient`, shape (D,), is overwritten.

        The Jacobian of the metric's bends is included; that of its linear part is constant and
        left out.
        """
        y = np.ascontiguousarray(y, dtype=float)
        value = np.empty(1)
        pointer = ctypes.POINTER(ctypes.c_double)
        arguments = (a.ctypes.data_as(pointer) for a in (y, gradient, value))
        entry("density").ctypes(self.size, *arguments, self.header_address)
        return float(value[0])


def compiled_density(data: KernelData, size: int, metric: Metric | None = None) -> CompiledDensity:
    """Lay out a density's arguments for the compiled entry point.

    Parameters
    ----------
    data : KernelData
        From `lndbayes.density.kernel.kernel_data`.
    size : int
        Number of unconstrained coordinates.
    metric : Metric, optional
        Coordinates to sample in; default the unconstrained ones themselves.
    """
    if metric is None:
        metric = Metric.diagonal(np.zeros(size), np.ones(size))
    groups, length, _ = metric.local.shape
    local = metric.local.reshape(groups * length, length)
    bends, law = metric.bends, metric.bends.law
    sites, kinds = law.members.shape
    shared = len(law.products)
    rows = np.flatnonzero(metric.factor.any(axis=1))
    given = (
        *(*data, metric.mean, metric.scale, rows.astype(np.int64), metric.factor[rows], local),
        *(metric.members.astype(np.int64), bends.skewed, bends.shape),
        *(bends.runs, bends.middle, bends.information),
        # kinds first and sites last: loops run over sites
        *(law.members.T.astype(np.int64), law.scalars.astype(np.int64)),
        *(law.information.reshape(sites, kinds * kinds).T, law.score.T),
        *(law.told.reshape(sites, kinds * shared).T, law.products.astype(np.int64)),
        *(law.usual, law.mix_at.astype(np.int64)),
        *(metric.directions, metric.stretch),
    )
    arrays = [np.ascontiguousarray(value) for value in given]
    header = [size]
    for array in arrays:
        rows, columns = (*array.shape, 1, 1)[:2]
        header += [array.ctypes.data, rows, columns]
    names = [_part(name, data) for name in PARTS]
    prepare([name for name in names if name])
    header += [int(entry(name).address) if name else 0 for name in names]
    return CompiledDensity(size, np.array(header, dtype=np.int64), tuple(arrays))


def _part(part: str, data: KernelData) -> str:
    """Name of what a part is for these data; empty where they have nothing for it.

    So nothing is compiled that a family, or data without suppressed cells, never calls.
    """
    if not any(len(getattr(data, field)) for field in _FIELDS_OF[part]):
        return ""
    if part == "cells":
        return "counts" if data.family[0] == LINKS["log"] else "trials"
    return part


def log_density(x: np.ndarray, gradient: np.ndarray, data: KernelData) -> float:
    """Log density of an unconstrained vector, normalised as PyMC's ``logp`` is.

    Parameters
    ----------
    x : ndarray, shape (D,)
        The point; see `lndbayes.model.layout`.
    gradient : ndarray, shape (D,)
        Overwritten.
    data : KernelData
        From `lndbayes.density.kernel.kernel_data`.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    return compiled_density(data, len(x)).evaluate(x, gradient)
