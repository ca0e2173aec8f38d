"""The compiled density and its arguments, in the coordinates a sampler moves in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from lndbayes.model.address import PARTS
from lndbayes.model.entry import entry, prepare
from lndbayes.model.pack import KernelData
from lndbayes.model.vector import LINKS

__all__ = ["CompiledDensity", "Metric", "compiled_density", "log_density"]

#: Fields that are empty where a part has nothing to do.
_FIELDS_OF = {
    "cells": ("cell",),
    "ranged": ("ranged",),
    "stages": ("stage",),
    "channels": ("retrospective_at", "history_at", "national_logit", "elicited_logit"),
}


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

        The Jacobian of the metric is constant and left out.
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
        From `lndbayes.model.kernel.kernel_data`.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    return compiled_density(data, len(x)).evaluate(x, gradient)
