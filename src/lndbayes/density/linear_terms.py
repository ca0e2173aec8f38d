"""Linear terms of the compiled density: coefficients with their priors, and the way back."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit

from lndbayes.density.argument_fields import Style
from lndbayes.density.argument_table import get
from lndbayes.density.priors_and_shapes import extend, extend_back, scalar_prior
from lndbayes.numerics.vector import INSIDE

__all__ = [
    "coefficients",
    "coefficients_back",
    "own_coefficients",
    "own_coefficients_back",
    "scalars",
    "scalars_back",
]

_SCALAR: Final = int(Style.SCALAR)
_CENTRED: Final = int(Style.CENTRED)
_SCALED: Final = int(Style.SCALED)


@njit(**INSIDE)
def scalars(h: np.ndarray, x: np.ndarray, grad: np.ndarray, v: np.ndarray) -> float:
    """Fill v, shape (N,), with the scalars times their fixed scales; their priors and Jacobians."""
    at, positive, factor = get(h, "scalar_at"), get(h, "scalar_positive"), get(h, "scalar_factor")
    code, prior = get(h, "prior_code"), get(h, "prior_value")
    value = 0.0
    for i in range(v.shape[0]):
        on_log = positive[i] != 0
        raw = math.exp(x[at[i]]) if on_log else x[at[i]]
        p, slope = scalar_prior(code[i], prior[i, 0], prior[i, 1], prior[i, 2], raw)
        value += p
        grad[at[i]] += slope * raw + 1.0 if on_log else slope
        if on_log:
            value += x[at[i]]
        v[i] = factor[i] * raw
    return value


@njit(**INSIDE)
def scalars_back(h: np.ndarray, grad: np.ndarray, v: np.ndarray, g: np.ndarray) -> None:
    """Add derivatives g by the scalars to those by the vector."""
    at, positive, factor = get(h, "scalar_at"), get(h, "scalar_positive"), get(h, "scalar_factor")
    for i in range(v.shape[0]):
        grad[at[i]] += g[i] * (v[i] if positive[i] != 0 else factor[i])


@njit(**INSIDE)
def coefficients(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    coefficient: np.ndarray,
) -> float:
    """Fill the coefficients that sites share, shape (F,); the priors of coordinates of their own.

    The prior of those that sum to zero is left to `coefficients_back`.
    """
    term, fixed = get(h, "term"), get(h, "coefficient")
    value = 0.0
    for b in range(term.shape[0]):
        style, first, at, count, scale = term[b]
        if style == _SCALAR:
            coefficient[at] = v[first]
            continue
        by = v[scale] if scale >= 0 else 1.0
        own = coefficient[at : at + count]
        if style == _CENTRED:
            for k in range(count):
                size = fixed[at + k, 1] * by
                own[k] = x[first + k]
                z = (own[k] - fixed[at + k, 0]) / size
                grad[first + k] -= z / size
                value -= 0.5 * z * z
                if scale >= 0:
                    value -= math.log(by)
                    g[scale] += (z * z - 1.0) / by
            continue
        if style == _SCALED:
            for k in range(count):
                own[k] = x[first + k]
                value -= 0.5 * own[k] * own[k]
                grad[first + k] -= own[k]
        else:
            extend(x[first : first + count - 1], own)
        for k in range(count):
            own[k] = fixed[at + k, 0] + fixed[at + k, 1] * by * own[k]
    return value


@njit(**INSIDE)
def coefficients_back(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    by_coefficient: np.ndarray,
) -> float:
    """Add derivatives by the coefficients, which are overwritten, to those by vector and scalars.

    Returns the prior of coordinates that are extended to sum to zero.
    """
    term, fixed = get(h, "term"), get(h, "coefficient")
    value = 0.0
    for b in range(term.shape[0]):
        style, first, at, count, scale = term[b]
        if style == _SCALAR:
            g[first] += by_coefficient[at]
            continue
        by, own = v[scale] if scale >= 0 else 1.0, by_coefficient[at : at + count]
        if style == _CENTRED:
            for k in range(count):
                grad[first + k] += own[k]
            continue
        z = np.empty(count)
        if style == _SCALED:
            z[:] = x[first : first + count]
        else:
            extend(x[first : first + count - 1], z)
        for k in range(count):
            own[k] *= fixed[at + k, 1]
            if scale >= 0:
                g[scale] += own[k] * z[k]
            own[k] *= by
        if style == _SCALED:
            for k in range(count):
                grad[first + k] += own[k]
        else:
            here = slice(first, first + count - 1)
            value += extend_back(x[here], own, grad[here])
    return value


@njit(**INSIDE)
def own_coefficients(h: np.ndarray, x: np.ndarray, z: np.ndarray) -> None:
    """Fill what each site has of its own before it is scaled, shape (R, S)."""
    own, sites = get(h, "own"), z.shape[1]
    for r in range(z.shape[0]):
        first = own[r, 0]
        if own[r, 2] != 0:
            extend(x[first : first + sites - 1], z[r])
        else:
            z[r] = x[first : first + sites]


@njit(**INSIDE)
def own_coefficients_back(
    h: np.ndarray,
    x: np.ndarray,
    grad: np.ndarray,
    v: np.ndarray,
    g: np.ndarray,
    z: np.ndarray,
    by_own: np.ndarray,
) -> float:
    """The same as `coefficients_back`, for `own_coefficients`; with the priors of all of them."""
    own, sd, sites = get(h, "own"), get(h, "own_sd"), z.shape[1]
    value = 0.0
    for r in range(z.shape[0]):
        first, scale = own[r, 0], own[r, 1]
        size = sd[r] * v[scale] if scale >= 0 else sd[r]
        for s in range(sites):
            if scale >= 0:
                g[scale] += sd[r] * by_own[r, s] * z[r, s]
            by_own[r, s] *= size
        if own[r, 2] != 0:
            here = slice(first, first + sites - 1)
            value += extend_back(x[here], by_own[r], grad[here])
        else:
            for s in range(sites):
                grad[first + s] += by_own[r, s] - z[r, s]
                value -= 0.5 * z[r, s] * z[r, s]
    return value
