"""Pieces of the compiled density that do not depend on the family: priors, zero sums, mix, ramp."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lndbayes.model.special import rising
from lndbayes.model.vector import INSIDE

__all__ = ["extend", "extend_back", "mix", "pulses", "ramps", "scalar_prior", "shares"]


@njit(**INSIDE)
def scalar_prior(code: int, a: float, b: float, c: float, v: float) -> tuple[float, float]:
    """Log prior without constants, and its derivative, at the constrained value."""
    if code == 0:
        z = (v - a) / b
        return -0.5 * z * z, -z / b
    if code == 1:
        z = (v - a) / b
        return -0.5 * (c + 1.0) * math.log1p(z * z / c), -(c + 1.0) * z / (b * (c + z * z))
    if code == 2:
        z = v / b
        return -0.5 * z * z, -z / b
    if code == 3:
        return -v / b, -1.0 / b
    if code == 4:
        return (a - 1.0) * math.log(v) - b * v, (a - 1.0) / v - b
    z = (math.log(v) - a) / b
    return -0.5 * z * z - math.log(v), -(z / b + 1.0) / v


@njit(**INSIDE)
def extend(x: np.ndarray, z: np.ndarray) -> None:
    """Fill z, length n, with the isometric image of the first n - 1 of x that sums to zero."""
    n = z.shape[0]
    if n == 1:
        z[0] = 0.0
        return
    total = 0.0
    for i in range(n - 1):
        total += x[i]
    root = math.sqrt(n)
    norm = total / (root + n)
    for i in range(n - 1):
        z[i] = x[i] - norm
    z[n - 1] = -total / root


@njit(**INSIDE)
def extend_back(x: np.ndarray, gz: np.ndarray, gx: np.ndarray) -> float:
    """Add the transposed extension of gz to gx, with the standard normal prior that is returned."""
    n = gz.shape[0]
    if n == 1:
        return 0.0
    root = math.sqrt(n)
    norm = 1.0 / (root + n)
    total = 0.0
    for i in range(n - 1):
        total += gz[i]
    common = -norm * total - gz[n - 1] / root
    value = 0.0
    for i in range(n - 1):
        gx[i] += gz[i] + common - x[i]
        value -= 0.5 * x[i] * x[i]
    return value


@njit(**INSIDE)
def mix(
    x: np.ndarray,
    grad: np.ndarray,
    share: np.ndarray,
    g_share: np.ndarray,
    start: int,
    kappa: float,
    counts: np.ndarray,
    alpha: float,
) -> tuple[float, float]:
    """Dirichlet prior, Dirichlet-multinomial likelihood and the way back to the vector.

    `g_share` holds what the effects already ask of the shares. Returns the value and the
    derivative with respect to kappa.
    """
    sites, kinds = share.shape
    value, g_kappa = 0.0, 0.0
    g = np.empty(kinds)
    for s in range(sites):
        total, inner = 0.0, 0.0
        for m in range(kinds):
            total += counts[s, m]
        if total > 0:
            v, d = rising(kappa, total)
            value -= v
            g_kappa -= d
        for m in range(kinds):
            p = share[s, m]
            v, d = rising(kappa * p, counts[s, m])
            value += v + alpha * math.log(p)
            g_kappa += d * p
            g[m] = (g_share[s, m] + kappa * d) * p + alpha
            inner += g[m]
        for m in range(kinds - 1):
            i = start + s * (kinds - 1) + m
            grad[i] += (g[m] - share[s, m] * inner) - (g[kinds - 1] - share[s, kinds - 1] * inner)
    return value, g_kappa


@njit(**INSIDE)
def shares(x: np.ndarray, start: int, share: np.ndarray) -> None:
    """Fill share, shape (S, M), with simplices from coordinates that begin at `start`."""
    sites, kinds = share.shape
    for s in range(sites):
        total, top = 0.0, -1e300
        for m in range(kinds - 1):
            v = x[start + s * (kinds - 1) + m]
            share[s, m] = v
            total -= v
            top = max(top, v)
        share[s, kinds - 1] = total
        top = max(top, total)
        norm = 0.0
        for m in range(kinds):
            share[s, m] = math.exp(share[s, m] - top)
            norm += share[s, m]
        for m in range(kinds):
            share[s, m] /= norm


@njit(**INSIDE)
def ramps(
    event_time: np.ndarray, months: float, half: float, ramp: np.ndarray, slope: np.ndarray
) -> None:
    """Ramp and its derivative in the time constant, by site and month."""
    top = 0
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            top = max(top, event_time[s, t])
    table = np.empty(top + 1)
    for e in range(top + 1):
        table[e] = math.exp(-(e + half) / months)
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            e = event_time[s, t]
            if e >= 0:
                ramp[s, t] = 1.0 - table[e]
                slope[s, t] = -table[e] * (e + half) / (months * months)
            else:
                ramp[s, t] = 0.0
                slope[s, t] = 0.0


@njit(**INSIDE)
def pulses(
    event_time: np.ndarray, peak: float, half: float, shape: np.ndarray, slope: np.ndarray
) -> None:
    """Passing pulse ``(u / m) exp(1 - u / m)`` and its derivative in m, by site and month."""
    for s in range(event_time.shape[0]):
        for t in range(event_time.shape[1]):
            e = event_time[s, t]
            if e >= 0:
                u = (e + half) / peak
                shape[s, t] = u * math.exp(1.0 - u)
                slope[s, t] = shape[s, t] * (u - 1.0) / peak
            else:
                shape[s, t] = 0.0
                slope[s, t] = 0.0
