"""The compiled density and its arguments, in the coordinates a sampler moves in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from lndbayes.coordinates.transform import Coordinates
from lndbayes.density.argument_fields import FIELDS, KINDS, Arguments, CoordinateArguments
from lndbayes.density.argument_table import PARTS
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

        The Jacobian of the nonlinear map is included; that of the linear part is constant and
        left out.
        """
        y = np.ascontiguousarray(y, dtype=float)
        value = np.empty(1)
        pointer = ctypes.POINTER(ctypes.c_double)
        arguments = (a.ctypes.data_as(pointer) for a in (y, gradient, value))
        entry("density").ctypes(self.size, *arguments, self.header_address)
        return float(value[0])


def compiled_density(
    data: Arguments, size: int, coordinates: Coordinates | None = None
) -> CompiledDensity:
    """Lay out a density's arguments for the compiled entry point.

    Parameters
    ----------
    data : Arguments
        From `lndbayes.density.arguments.kernel_data`.
    size : int
        Number of unconstrained coordinates.
    coordinates : Coordinates, optional
        Coordinates to sample in; default the unconstrained ones themselves.
    """
    if coordinates is None:
        coordinates = Coordinates.diagonal(np.zeros(size), np.ones(size))
    given = {**vars(data), **vars(_coordinate_arguments(coordinates))}
    arrays: list[np.ndarray] = [
        np.ascontiguousarray(given[name], dtype=KINDS[kind][0])
        for name, (_, kind) in FIELDS.items()
    ]
    header = [size]
    for array in arrays:
        rows, columns = (*array.shape, 1, 1)[:2]
        header += [array.ctypes.data, rows, columns]
    names = [_part(name, data) for name in PARTS]
    prepare([name for name in names if name])
    header += [int(entry(name).address) if name else 0 for name in names]
    return CompiledDensity(size, np.array(header, dtype=np.int64), tuple(arrays))


def _coordinate_arguments(coordinates: Coordinates) -> CoordinateArguments:
    """Lay a change of coordinates out for compiled loops."""
    groups, length, _ = coordinates.local.shape
    nonlinear, gaussian = coordinates.nonlinear, coordinates.nonlinear.gaussian
    sites, kinds = gaussian.members.shape
    shared = len(gaussian.shared_scalars)
    rows = np.flatnonzero(coordinates.factor.any(axis=1))
    return CoordinateArguments(
        mean=coordinates.mean,
        scale=coordinates.scale,
        rows=rows,
        factor=coordinates.factor[rows],
        local=coordinates.local.reshape(groups * length, length),
        members=coordinates.members,
        skewed=nonlinear.skewed,
        shape=nonlinear.shape,
        runs=nonlinear.runs,
        middle=nonlinear.middle,
        information=nonlinear.information,
        gaussian_members=gaussian.members.T,
        gaussian_scalars=gaussian.scalars,
        gaussian_information=gaussian.information.reshape(sites, kinds * kinds).T,
        gaussian_score=gaussian.score.T,
        gaussian_score_slope=gaussian.score_slope.reshape(sites, kinds * shared).T,
        gaussian_shared_scalars=gaussian.shared_scalars,
        gaussian_reference_mix=gaussian.reference_mix,
        gaussian_mix_at=gaussian.mix_at,
        directions=coordinates.directions,
        residual_scaling=coordinates.residual_scaling,
    )


def _part(part: str, data: Arguments) -> str:
    """Name of what a part is for these data; empty where they have nothing for it.

    So nothing is compiled that a family, or data without suppressed cells, never calls.
    """
    if not any(len(getattr(data, field)) for field in _FIELDS_OF[part]):
        return ""
    if part == "cells":
        return "counts" if data.link == LINKS["log"] else "trials"
    return part


def log_density(x: np.ndarray, gradient: np.ndarray, data: Arguments) -> float:
    """Log density of an unconstrained vector, normalised as PyMC's ``logp`` is.

    Parameters
    ----------
    x : ndarray, shape (D,)
        The point; see `lndbayes.model.layout`.
    gradient : ndarray, shape (D,)
        Overwritten.
    data : Arguments
        From `lndbayes.density.arguments.kernel_data`.

    Returns
    -------
    float
        Including the log Jacobians of the transforms.
    """
    return compiled_density(data, len(x)).evaluate(x, gradient)
